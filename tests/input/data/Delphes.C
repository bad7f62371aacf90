// Delphes' classes as far as they are needed: https://github.com/delphes/delphes/blob/master/classes/DelphesClasses.h
#include "TObject.h"
#include "TRef.h"
class Event : public TObject { public: Long64_t Number; Float_t ReadTime; Float_t ProcTime; ClassDef(Event, 1) };
class HepMCEvent : public Event { public: Int_t ProcessID; Float_t Weight; Float_t CrossSection; ClassDef(HepMCEvent, 3) };
class GenParticle : public TObject { public: Int_t PID; Int_t Status; Int_t M1; Int_t M2; Float_t E; Float_t Px; Float_t Py; Float_t Pz;
  Float_t Mass; Float_t PT; Float_t Eta; Float_t Phi; ClassDef(GenParticle, 2) };
class Track : public TObject { public: Int_t PID; Int_t Charge; Float_t P; Float_t PT; Float_t Eta; Float_t Phi; Float_t Mass; ClassDef(Track, 3) };
class Tower : public TObject { public: Float_t ET; Float_t Eta; Float_t Phi; Float_t E; ClassDef(Tower, 4) };
