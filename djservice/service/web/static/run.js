// The page of one run. Asks for the rows of the history that it does not have yet, and fills the figures' sources.
import { ask, badge, bar, clock, cluster, element, live, number, put, radius, withError } from "./common.js";

const RECENT = 20; // iterations that make up the spread
const SHOWN = 10; // rows of the table
const LONGEST = 20000; // rows of the history that a page holds
const UNFINISHED = ["queued", "loading", "running"];

const id = document.body.dataset.run;
const sign = Number(document.body.dataset.sign); // of what is shown in place of the loss
const item = document.getElementById("item");
let history = {};
let changes = -1; // how many transitions were seen
let sources = null; // of the figures; none without bokeh

async function drawn() {
  if (item === null || sources !== null) return;
  const views = await Bokeh.embed.embed_item(JSON.parse(item.textContent), "figures");
  const figures = views.model?.document ?? views.roots?.[0]?.model.document ?? Bokeh.documents[0];
  sources = (name) => figures.get_model_by_name(name);
}

const numbers = (values) => values.map((value) => (value === null ? NaN : value));

/** A function of the last values at each of them. */
const lately = (values, compute) => values.map((_, i) => compute(values.slice(Math.max(0, i + 1 - RECENT), i + 1)));
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;

function spread(values) {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
}

/** Losses as they are shown. */
const shown = (values) => values.map((value) => (value === null ? null : sign * value));
const around = (values, errors, sign) => values.map((value, i) => value + sign * errors[i]);

function draw(run) {
  const { radius: path, radius_average: average } = history;
  const spreads = lately(path, spread);
  const [loss, error] = [numbers(shown(history.loss)), numbers(history.loss_error)];
  sources("history").data = {
    iteration: history.iteration,
    radius: path,
    radius_average: average,
    radius_low: around(average, spreads, -1),
    radius_high: around(average, spreads, 1),
    loss,
    loss_low: around(loss, error, -1),
    loss_high: around(loss, error, 1),
    loss_mean: lately(loss, mean),
    trees_per_second: history.trees.map((trees, i) => trees / history.seconds[i]),
  };
  const [height, width] = [numbers(shown(run.scan.loss)), numbers(run.scan.loss_error)];
  sources("scan").data = {
    radius: run.scan.radius,
    loss: height,
    loss_low: around(height, width, -1),
    loss_high: around(height, width, 1),
  };
  const found = run.result ? [run.result] : [];
  sources("result").data = {
    radius: found.map((result) => result.radius),
    low: found.map((result) => result.radius - (result.radius_error ?? 0)),
    high: found.map((result) => result.radius + (result.radius_error ?? 0)),
  };
  const figures = document.getElementById("figures");
  figures.dataset.iterations = sources("history").data.radius.length;
  figures.dataset.scan = sources("scan").data.radius.length;
}

function table() {
  const last = history.iteration.length;
  const objective = shown(history.loss);
  const rows = [];
  for (let i = last - 1; i >= Math.max(0, last - SHOWN); i--) {
    const cells = [
      history.iteration[i],
      number(history.radius[i], 4),
      number(history.radius_average[i], 4),
      withError(objective[i], history.loss_error[i], 5),
      number(history.acceptance[i], 3),
      Math.round(history.trees[i] / history.seconds[i]).toLocaleString("en"),
    ];
    rows.push(element("tr", {}, ...cells.map((cell) => element("td", { class: "n" }, cell))));
  }
  put("iterations", ...rows);
  return rows.length > 0;
}

/** Trees in all, and while it goes on how many per second in the last iterations. */
function sampled(run) {
  if (run.progress.trees === undefined) return "–";
  const rate = Math.round(sum(history.trees.slice(-RECENT)) / sum(history.seconds.slice(-RECENT)));
  const now = UNFINISHED.includes(run.state) && rate > 0 ? `, ${rate.toLocaleString("en")} per second lately` : "";
  return `${run.progress.trees.toLocaleString("en")} trees since it was taken up here${now}`;
}

function text(run) {
  put("state", badge(run.state), ` since ${clock(run.since)}`, run.reason ? `: ${run.reason}` : "");
  put("user", run.user);
  put("store", run.store);
  put("radius", radius(run));
  put("progress", bar(run));
  put("trees", sampled(run));
  put("cluster", cluster(run.cluster));
  put("remarks", ...(run.result?.remarks ?? []).map((remark) => element("li", {}, remark)));
  const written = run.transitions.some((was) => was.state === "running"); // before, there is no store to be read
  put("unreadable", written && !UNFINISHED.includes(run.state) ? run.unreadable ?? "" : "");
  const states = run.transitions.map((was) =>
    element("tr", {}, element("td", { class: "time" }, clock(was.time)), element("td", {}, badge(was.state)), element("td", {}, was.reason)),
  );
  put("transitions", ...states);
  put("lines", run.lines.map(([when, line]) => `${clock(when)}  ${line}`).join("\n"));
}

live(async () => {
  const from = history.iteration?.length ? history.iteration.at(-1) + 1 : 0;
  const run = await ask(`api/runs/${encodeURIComponent(id)}?history=${LONGEST}&from=${from}`);
  const anew = changes !== run.transitions.length || run.history_rows < from;
  if (from > 0 && anew) {
    // it may have gone back to an earlier row
    history = {};
    changes = run.transitions.length;
    return 0;
  }
  changes = run.transitions.length;
  for (const [name, values] of Object.entries(run.history)) {
    history[name] = [...(history[name] ?? []), ...values].slice(-LONGEST);
  }
  text(run);
  document.getElementById("rows").hidden = !table();
  await drawn();
  if (sources !== null) draw(run);
  return UNFINISHED.includes(run.state) ? 2 : 10;
});
