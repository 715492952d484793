/** The shortest pause before another try, in milliseconds. */
const LEAST = 50;

/** A source of random numbers from 0 up to 1. */
export type Chance = () => number;

/**
 * Returns the pause after that many tries, in milliseconds: twice as long each time, up to `most`. A random half of it is
 * spared, so that clients do not try in step.
 */
export function pause(tries: number, most: number, chance: number): number {
  const half = Math.min(LEAST * 2 ** Math.min(tries, 16), most) / 2;
  return half + Math.round(half * Math.min(Math.max(chance, 0), 1));
}
