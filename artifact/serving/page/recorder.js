// Samples of the microphone as 16-bit PCM, 20 ms a message.
registerProcessor("recorder", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = [];
  }

  process([[channel]]) {
    if (channel) this.samples.push(...channel);
    const hop = sampleRate / 50;
    while (this.samples.length >= hop) {
      const pcm = Int16Array.from(this.samples.splice(0, hop), (x) => Math.max(-32768, Math.min(32767, x * 32768)));
      this.port.postMessage(pcm.buffer, [pcm.buffer]);
    }
    return true;
  }
});
