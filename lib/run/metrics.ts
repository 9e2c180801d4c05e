// Typed counters, gauges and histograms over prom-client. Label names are part of the type; every series a part declares starts at 0.

import {Counter as PromCounter, Gauge as PromGauge, Histogram as PromHistogram, Registry, collectDefaultMetrics} from 'prom-client';

export type LabelValues<L extends string> = Readonly<Record<L, string>>;

export interface Counter<L extends string = never> {
  add(labels: LabelValues<L>, by?: number): void;
}

export interface Gauge<L extends string = never> {
  set(labels: LabelValues<L>, value: number): void;
  /** Forgets every series; used before a full refill, so that what is gone disappears. */
  clear(): void;
}

export interface Histogram<L extends string = never> {
  observe(labels: LabelValues<L>, value: number): void;
}

export interface MetricSpec<L extends string> {
  /** Without the prefix; carries its unit (`_seconds`, `_bytes`, `_total`). */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly L[];
}

/** How often the lag of the event loop is looked at. prom-client's own 10 ms wakes an idle process a hundred times a second. */
const LAG_PRECISION_MS = 200;

/** Where parts declare their metrics. `prefix` is `cilium_` for agents and `cilium_operator_` for the operator. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #prefix: string;
  readonly #collectors: (() => void | Promise<void>)[] = [];

  constructor(options: {readonly prefix: string; readonly processMetrics?: boolean}) {
    this.#prefix = options.prefix;
    if (options.processMetrics === true) collectDefaultMetrics({register: this.#registry, prefix: options.prefix, eventLoopMonitoringPrecision: LAG_PRECISION_MS});
  }

  counter<L extends string = never>(spec: MetricSpec<L>): Counter<L> {
    const counter = new PromCounter<L>(this.#common(spec));
    if (spec.labels === undefined || spec.labels.length === 0) counter.inc(0);
    return {add: (labels, by = 1) => counter.inc(labels, by)};
  }

  gauge<L extends string = never>(spec: MetricSpec<L>): Gauge<L> {
    const gauge = new PromGauge<L>(this.#common(spec));
    return {set: (labels, value) => gauge.set(labels, value), clear: () => gauge.reset()};
  }

  histogram<L extends string = never>(spec: MetricSpec<L> & {readonly buckets: readonly number[]}): Histogram<L> {
    const histogram = new PromHistogram<L>({...this.#common(spec), buckets: [...spec.buckets]});
    return {observe: (labels, value) => histogram.observe(labels, value)};
  }

  /** Runs before every scrape: for values that are read rather than counted. */
  onScrape(collect: () => void | Promise<void>): void {
    this.#collectors.push(collect);
  }

  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;

  async render(): Promise<string> {
    for (const collect of this.#collectors) await collect();
    return this.#registry.metrics();
  }

  #common<L extends string>(spec: MetricSpec<L>): {name: string; help: string; labelNames: L[]; registers: Registry[]} {
    return {name: this.#prefix + spec.name, help: spec.help, labelNames: [...(spec.labels ?? [])], registers: [this.#registry]};
  }
}
