// What both pages need. Text reaches a page as text (textContent), never as HTML, whoever wrote it.

/** An element with text and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

export function put(id, ...children) {
  document.getElementById(id).replaceChildren(...children);
}

/** Seconds since 1970 as local date and time. */
export function clock(seconds) {
  const date = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function number(value, digits) {
  return value === null || value === undefined ? "not determined" : value.toFixed(digits);
}

export function withError(value, error, digits) {
  return `${number(value, digits)} ± ${number(error, digits)}`;
}

export function badge(state) {
  return element("span", { class: `state ${state}` }, state);
}

/** Phases that may end before their total, which is the most that they need. */
const OPEN = ["newton", "R error"];

/** How far a run is, as a bar with words. */
export function bar(run) {
  const { phase, done, total } = run.progress;
  if (run.state === "finished") return element("span", { class: "note" }, "done");
  if (phase === undefined) return element("span", { class: "note" }, "–");
  return element("span", { class: "bar" }, element("progress", { max: total || 1, value: done }), ` ${phase} ${done}${OPEN.includes(phase) ? ` (at most ${total})` : `/${total}`}`);
}

/** R: the result, with its network if one was trained, or of a run that is not at its end, that of the last iteration. */
export function radius(run) {
  if (run.result) {
    const { joint_radius: joint, joint_radius_error: error } = run.result;
    if (joint != null) return `${withError(joint, error, 3)} with its network`;
    const radius = withError(run.result.radius, run.result.radius_error, 3);
    return run.result.converged ? radius : `${radius} (no optimum)`;
  }
  const last = run.progress.radius;
  return last === null || last === undefined ? "–" : `now ${last.toFixed(3)}`;
}

export function cluster(found) {
  const count = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;
  return `${count(found.workers, "worker")} with ${count(found.threads, "thread")}, ${count(found.processing, "task")} in progress`;
}

/** Ask for JSON again and again, but not while nobody looks. `step` returns the seconds until it wants to be asked again. */
export async function live(step) {
  for (;;) {
    let seconds = 5;
    if (!document.hidden) {
      try {
        seconds = await step();
        document.body.dataset.answers = Number(document.body.dataset.answers ?? 0) + 1;
        put("problem");
      } catch (error) {
        put("problem", `What is shown may be old: ${error.message}`);
      }
    }
    await new Promise((wake) => setTimeout(wake, 1000 * seconds));
  }
}

export async function ask(address) {
  const answer = await fetch(address, { cache: "no-store" });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}
