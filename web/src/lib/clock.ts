// How far this browser's clock is from the hub's, of questions that the hub has answered with its time.

interface Reading {
  /** Our clock less the hub's, in milliseconds, off by half of `took` at most. */
  skew: number;
  took: number;
  /** When it was read, by our clock. */
  at: number;
}

/** By how much two clocks may drift apart, in milliseconds for each second. */
const DRIFT = 0.1;

/** The best reading so far: the quickest answer says the most. One that has grown old, or that a set clock has belied, gives way. */
export class HubClock {
  private best: Reading | null = null;

  /** `sent` and `received` by our clock, `told` the hub's time in the answer. Answers what is believed now. */
  add(sent: number, received: number, told: number): number | null {
    const took = received - sent;
    if (Number.isFinite(told) && took >= 0) {
      const fresh = { skew: (sent + received) / 2 - told, took, at: received };
      const old = this.best;
      const worth = old ? old.took + Math.abs(received - old.at) / 1000 * DRIFT : 0;
      const belied = old !== null && Math.abs(fresh.skew - old.skew) > (fresh.took + worth) / 2 + 1;
      if (!old || belied || took <= worth) this.best = fresh;
    }
    return this.best?.skew ?? null;
  }

  forget(): void {
    this.best = null;
  }
}
