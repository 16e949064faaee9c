// Hands the samples of the first channel to the page, some thousand at a time.
registerProcessor("recorder", class extends AudioWorkletProcessor {
  constructor() { super(); this.block = new Float32Array(4096); this.at = 0; }
  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.block[this.at++] = sample;
      if (this.at === this.block.length) { this.port.postMessage(this.block.slice()); this.at = 0; }
    }
    return true;
  }
});
