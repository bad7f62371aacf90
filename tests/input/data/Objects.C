// Classes whose objects are written whole.
#include <vector>
#include "TLorentzVector.h"
struct Candidate { float pt, eta, phi, mass; };
struct Candidates { std::vector<float> pt; };
#ifdef __CLING__
#pragma link C++ struct Candidate+;
#pragma link C++ struct Candidates+;
#pragma link C++ class std::vector<Candidate>+;
#pragma link C++ class std::vector<TLorentzVector>+;
#endif
