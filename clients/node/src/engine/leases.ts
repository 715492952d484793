/** Calls for leases: locks without a stream. Each is made again after an answer that did not come. */
import { randomUUID } from "node:crypto";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { now } from "../clock.js";
import { notice } from "../core/link.js";
import { type Moment, NEVER } from "../core/types.js";
import type * as pb from "../gen/lockbroker/v1/lockbroker_pb.js";
import { lockService } from "../v1/index.js";
import { type Brokers, readOutcome, strange } from "./brokers.js";
import type { LeaseAnswer, LeaseAsk, ReleaseOutcome, RenewalAnswer } from "./protocol.js";
import { clockMargin, fromAcquired, fromLoss, fromRefusal, fromWire, toSpec, toWire } from "./wire.js";

/** The longest wait for a lease, in milliseconds. Brokers refuse more, but for one without a limit, which is as long. */
const LONGEST_WAIT = 30_000;

/** The time by which the validity that a broker tells is less than the ttl, in milliseconds. */
const BROKERS_MARGIN = 2000;

/**
 * Returns the end of a lease's validity, or of what a renewal adds to it; undefined if the broker has told none. The request was
 * sent at `sent` and waited for `wait` at most.
 */
function endOf(sent: Moment, expires: Duration | undefined, wait: number): Moment | undefined {
  const valid = fromWire(expires);
  if (valid === undefined) return undefined;
  // The broker does not say the ttl. A wait is part of what it says.
  const ttl = Math.max(0, valid - Math.min(now() - sent, wait)) + BROKERS_MARGIN;
  return sent + valid - notice(ttl) - clockMargin(ttl);
}

/** The leases of a client, as its brokers are asked for them. */
export class Leases {
  readonly #brokers: Brokers;

  constructor(brokers: Brokers) {
    this.#brokers = brokers;
  }

  /** Calls AcquireLease, with one request id for all tries. */
  acquire({ spec, ttl, wait }: LeaseAsk, signal: AbortSignal): Promise<LeaseAnswer> {
    const requestId = randomUUID();
    const ask = { lock: toSpec(spec), ttl: toWire(ttl), requestId };
    return this.#brokers.repeat<pb.AcquireLeaseRequest, pb.AcquireLeaseResponse, LeaseAnswer>(
      {
        method: lockService.AcquireLease,
        lock: spec.name,
        wait: Math.min(wait, LONGEST_WAIT),
        end: NEVER,
        request: (left) => {
          const maxWait = toWire(wait > LONGEST_WAIT ? wait : left);
          return { ...ask, wait: wait > 0 ? { maxWait } : undefined } as never;
        },
        read: ({ result }, sent) => {
          if (result.case === "notAcquired") return { kind: "refused", ...fromRefusal(result.value) };
          const until = result.case === "acquired" ? endOf(sent, result.value.expiresAfterRequest, wait) : undefined;
          if (result.case !== "acquired" || until === undefined) {
            return strange(spec.name, "neither a lease, with a validity, nor a refusal");
          }
          if (until <= now()) return undefined;
          const { fencingToken: token, ...granted } = fromAcquired(result.value);
          return { kind: "granted", ...granted, token, until };
        },
      },
      signal,
    );
  }

  /** Calls RenewLease. The answer is of no use from `end` on. */
  renew(name: string, lockId: string, end: Moment, signal: AbortSignal): Promise<RenewalAnswer> {
    return this.#brokers.repeat<pb.RenewLeaseRequest, pb.RenewLeaseResponse, RenewalAnswer>(
      {
        method: lockService.RenewLease,
        lock: name,
        wait: 0,
        end,
        request: () => ({ name, lockId }) as never,
        read: ({ result }, sent) => {
          if (result.case === "lost") return { kind: "lost", reason: fromLoss(result.value) };
          const until = result.case === "renewed" ? endOf(sent, result.value.expiresAfterRequest, 0) : undefined;
          return until === undefined ? strange(name, "a renewal without a validity") : { kind: "renewed", until };
        },
      },
      signal,
    );
  }

  /** Calls Release. After a try that was not answered, and may have been the one that released it, any answer is `RELEASED`. */
  release(name: string, lockId: string, signal: AbortSignal): Promise<ReleaseOutcome> {
    return this.#brokers.repeat<pb.ReleaseRequest, pb.ReleaseResponse, ReleaseOutcome>(
      {
        method: lockService.Release,
        lock: name,
        wait: 0,
        end: NEVER,
        request: () => ({ name, lockId }) as never,
        read: (answer, _sent, tries) => (tries > 1 ? "RELEASED" : readOutcome(name, answer)),
      },
      signal,
    );
  }
}
