// How many sessions get their first state at the same time; the others wait in order.

export class Admission {
  readonly #max: number;
  readonly #waiting: (() => void)[] = [];
  #open = false;
  #running = 0;

  constructor(options: {readonly max: number}) {
    this.#max = options.max;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Nobody is admitted before this. */
  open(): void {
    this.#open = true;
    this.#next();
  }

  /** Answers with what gives the place back, or leaves the queue. Twice is once. */
  enter(start: () => void): () => void {
    let state: 'waiting' | 'running' | 'left' = 'waiting';
    const run = (): void => {
      state = 'running';
      this.#running++;
      start();
    };
    const leave = (): void => {
      if (state === 'running') {
        this.#running--;
        state = 'left';
        this.#next();
      } else if (state === 'waiting') {
        state = 'left';
        const index = this.#waiting.indexOf(run);
        if (index >= 0) this.#waiting.splice(index, 1);
      }
    };
    this.#waiting.push(run);
    this.#next();
    return leave;
  }

  #next(): void {
    while (this.#open && this.#running < this.#max) {
      const run = this.#waiting.shift();
      if (run === undefined) return;
      run();
    }
  }
}
