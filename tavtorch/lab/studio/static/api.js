// What the server is asked: files, jobs and their results.
export async function ask(url, options) {
  let answer;
  try { answer = await fetch(url, options); } catch { throw new Error("the studio does not answer; is it still running?"); }
  const said = await answer.json().catch(() => ({ error: `the studio answers ${answer.status}` }));
  if (!answer.ok) throw new Error(said.error ?? `the studio answers ${answer.status}`);
  return said;
}

export const upload = (blob, name) =>
  ask(`api/files?name=${encodeURIComponent(name)}`, { method: "POST", body: blob });

// A job that is followed to its end: `watch` hears of each change, and the job's number; `signal` stops it.
export async function job(asked, watch = () => {}, signal) {
  const body = JSON.stringify(asked), headers = { "Content-Type": "application/json" };
  const { job: id } = await ask("api/jobs", { method: "POST", body, headers });
  const stop = () => ask(`api/jobs/${id}`, { method: "DELETE" }).catch(() => {});  // what follows tells
  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop);
  for (let since = ""; ;) {
    const now = await ask(`api/jobs/${id}?since=${since}`);
    since = now.version;
    watch(now, id);
    if (now.state === "failed") throw new Error(now.words);
    if (now.state === "stopped") throw new DOMException("stopped", "AbortError");
    if (now.state === "done") return { ...now.result, url: name => `api/jobs/${id}/${name.split("/").map(encodeURIComponent).join("/")}` };
  }
}

// An element with properties, and children.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child != null));
  return element;
}
