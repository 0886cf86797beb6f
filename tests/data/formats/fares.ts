// Fares of the ferry.
import { Money } from "./money";
import type { Trip } from "./trip";

/** Who pays what. */
export interface Fare {
  readonly kind: "adult" | "child";
  price: Money;
}

export enum Season { Summer, Winter }

export type Table = Record<string, Fare>;

export abstract class Counter<T extends Fare> {
  private fares: T[] = [];

  constructor(private readonly season: Season) {
    this.fares = [];
  }

  /** Adds one. */
  @logged
  add(fare: T): this {
    this.fares.push(fare);
    return this;
  }

  abstract price(trip: Trip): Money;
}

export const total = (fares: Fare[]): number => {
  let sum = 0;
  for (const fare of fares) {
    sum += fare.price.cents;
  }
  return sum;
};

namespace Rounding {
  export function up(cents: number): number {
    return Math.ceil(cents / 5) * 5;
  }
}

export default Counter;
