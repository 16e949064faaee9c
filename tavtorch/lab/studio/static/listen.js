// All day: what the microphone hears goes to the server a second at a time, and tracks appear as they are told.
import { ask, job, make } from "./api.js";
import { content } from "./results.js";
import { Recorder } from "./sound.js";

const BLOCK = 1, MOST = 30;  // seconds; so long may the server not answer

export function clock(seconds) {
  const whole = Math.floor(seconds), two = number => `${number}`.padStart(2, "0");
  return `${whole >= 3600 ? `${Math.floor(whole / 3600)}:` : ""}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

export class Listening {
  constructor(list, heard) {
    Object.assign(this, { list, heard, seconds: 0, sending: Promise.resolve(), fault: null, halt: new AbortController() });
  }

  // To the end: that of `stop`, or an error.
  async run() {
    this.recorder = new Recorder();
    await this.recorder.start(() => this.send(BLOCK));
    this.begun = Date.now();
    this.rows = make("tbody"); this.body = make("div");
    const head = make("thead", {}, make("tr", {}, ...["at", "song", "from", "to"].map(name => make("th", { textContent: name }))));
    const words = make("p", { className: "note", textContent: "nothing that the library knows yet" });
    const close = make("button", { type: "button", textContent: "remove", hidden: true, ariaLabel: "Remove what was heard" });
    const element = make("section", { className: "result", ariaLabel: "Heard" }, make("div", { className: "head" }, make("h3", { textContent: "heard" }), close), words, make("table", {}, head, this.rows), this.body);
    close.addEventListener("click", () => element.remove());
    this.list.prepend(element);
    try {
      const done = await job({ do: "listen" }, (now, id) => {
        this.job = id;
        this.show(now.result.tracks ?? []);
        words.hidden = this.rows.children.length > 0;
      }, this.halt.signal);
      this.body.append(...content(done));
    } catch (error) {
      if (error.name !== "AbortError" || this.fault) throw this.fault ?? error;
    } finally { this.recorder.stop(); close.hidden = false; }
  }

  show(tracks) {
    this.rows.replaceChildren(...tracks.map(({ name, start, stop }) => {
      const at = new Date(this.begun + 1000 * start).toLocaleTimeString(), times = [clock(start), stop === null ? "playing" : clock(stop)];
      return make("tr", {}, ...[at, name, ...times].map(textContent => make("td", { textContent })));
    }));
  }

  // What was recorded since, if it is as long as a block; one after the other.
  send(least) {
    this.heard(this.seconds + this.recorder.seconds);
    if (!this.job || this.recorder.seconds < least || (this.busy && this.recorder.seconds < MOST)) return;
    if (this.busy) return this.fail(new Error(`the studio has not taken what was recorded for ${MOST} seconds; listen again when it has less to do.`));
    this.seconds += this.recorder.seconds;
    this.busy = true;
    this.sending = this.post(this.recorder.take()).catch(error => this.fail(error)).finally(() => { this.busy = false; });
  }

  post(body) { return ask(`api/jobs/${this.job}/blocks`, { method: "POST", body }); }

  fail(error) { this.fault = error; this.halt.abort(); }

  // In order: what is still here goes first, and the lists are written.
  async stop() {
    this.recorder.stop();
    await this.sending;
    if (this.fault || !this.job) return this.halt.abort();
    if (this.recorder.seconds) await this.post(this.recorder.take());
    await this.post(new Blob([]));
  }
}
