// The list of runs.
import { ask, badge, bar, clock, cluster, element, live, put, radius } from "./common.js";

function row(run) {
  const name = element("a", { href: `djservice/${encodeURIComponent(run.id)}` }, run.id);
  const cells = [name, run.user, badge(run.state), clock(run.since), bar(run), radius(run), element("code", {}, run.store)];
  const made = element("tr", { "data-run": run.id }, ...cells.map((cell) => element("td", {}, cell)));
  made.cells[2].title = run.reason;
  made.cells[3].className = made.cells[5].className = "time";
  return made;
}

live(async () => {
  const found = await ask("djservice/api/runs");
  put("cluster", cluster(found.cluster));
  put("runs", ...found.runs.reverse().map(row)); // the last submitted first
  document.getElementById("none").hidden = found.runs.length > 0;
  return 3;
});
