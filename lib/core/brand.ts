// Nominal types: a number that was checked once is not any number any more.

declare const brand: unique symbol;

/** A `T` that only its own constructor function can make. */
export type Brand<T, Name extends string> = T & {readonly [brand]: Name};
