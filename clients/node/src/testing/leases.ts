/** The leases of a broker for tests. */
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { type handleUnaryCall, Metadata, type ServiceError } from "@grpc/grpc-js";
import { DOMAIN, fromWire, toWire } from "../engine/wire.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";
import {
  type AcquireLeaseRequest,
  type AcquireLeaseResponse,
  AcquireLeaseResponseSchema,
  Lost_Reason as Lost,
  type RenewLeaseRequest,
  type RenewLeaseResponse,
  RenewLeaseResponseSchema,
} from "../v1/index.js";
import type { Event, Party, TestLock } from "./locks.js";
import { properties, type Surroundings, validity } from "./session.js";

/** A lease that somebody has. */
interface TestLease {
  readonly lock: TestLock;
  readonly party: Party;
  readonly token: bigint;
  readonly permit: number | undefined;
  /** Ends it after its ttl. */
  timer: NodeJS.Timeout;
}

export class TestLeases {
  readonly #broker: Surroundings;
  readonly #leases = new Map<string, TestLease>();
  /** The lock id that each call has got, by its request id. */
  readonly #got = new Map<string, string>();
  /** The reasons for which leases were lost, by their ids. */
  readonly #losses = new Map<string, Lost>();

  constructor(broker: Surroundings) {
    this.#broker = broker;
  }

  readonly acquire: handleUnaryCall<AcquireLeaseRequest, AcquireLeaseResponse> = (call, done) => {
    const { lock: spec, wait, requestId } = call.request;
    if (this.#broker.isSilent) return;
    const before = this.#got.get(requestId) ?? "";
    if (this.#extend(before)) {
      done(null, this.#granted(before));
      return;
    }
    const lock = this.#broker.lock(spec?.name ?? "");
    let lockId = "";
    let isAnswered = false;
    const tell = (event: Event) => {
      switch (event.case) {
        case "acquired": {
          const { fencingToken: token, permit } = event.value;
          lockId = event.value.lockId;
          this.#leases.set(lockId, { lock, party, token, permit, timer: this.#expiry(lockId) });
          if (requestId !== "") this.#got.set(requestId, lockId);
          done(null, this.#granted(lockId));
          break;
        }
        case "notAcquired":
          done(null, create(AcquireLeaseResponseSchema, { result: event }));
          break;
        case "failed":
          done(failure(event.value));
          break;
        case "lost":
        case "released":
          this.#end(lockId, event.case === "lost" ? event.value.reason : Lost.GONE);
          return;
        default:
          return;
      }
      isAnswered = true;
    };
    const party = { ...properties(spec), tell };
    call.on("cancelled", () => {
      if (!isAnswered) lock.leave(party);
    });
    lock.ask(party, wait && { limit: fromWire(wait.maxWait) });
  };

  readonly renew: handleUnaryCall<RenewLeaseRequest, RenewLeaseResponse> = ({ request: { name, lockId } }, done) => {
    if (this.#broker.isSilent) return;
    const fails = this.#broker.lock(name).failure();
    if (fails !== undefined) {
      done(failure(fails.value));
      return;
    }
    const { ttl } = this.#broker;
    const reason = this.#losses.get(lockId) ?? Lost.GONE;
    const result = this.#extend(lockId)
      ? ({ case: "renewed", value: { expiresAfterRequest: toWire(validity(ttl)) } } as const)
      : ({ case: "lost", value: { reason } } as const);
    done(null, create(RenewLeaseResponseSchema, { result }));
  };

  #granted(lockId: string): AcquireLeaseResponse {
    const { token: fencingToken = 0n, permit } = this.#leases.get(lockId) ?? {};
    const value = { lockId, fencingToken, permit, expiresAfterRequest: toWire(validity(this.#broker.ttl)) };
    return create(AcquireLeaseResponseSchema, { result: { case: "acquired", value } });
  }

  /** Makes a lease stand for its ttl from now on. Returns false if it is over. */
  #extend(lockId: string): boolean {
    const lease = this.#leases.get(lockId);
    if (lease === undefined) return false;
    clearTimeout(lease.timer);
    lease.timer = this.#expiry(lockId);
    return true;
  }

  #expiry(lockId: string): NodeJS.Timeout {
    const over = () => {
      const lease = this.#leases.get(lockId);
      this.#end(lockId, Lost.GONE);
      lease?.lock.leave(lease.party);
    };
    return setTimeout(over, this.#broker.ttl).unref();
  }

  #end(lockId: string, reason: Lost): void {
    clearTimeout(this.#leases.get(lockId)?.timer);
    this.#leases.delete(lockId);
    this.#losses.set(lockId, reason);
  }
}

/** Makes the error of a call that fails on command. */
function failure({ code, message, reason, retryAfter }: Extract<Event, { case: "failed" }>["value"]): Partial<ServiceError> {
  const retryDelay = { seconds: 0n, nanos: retryAfter.nanos };
  const details = [
    anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { domain: DOMAIN, reason })),
    anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })),
  ];
  const metadata = new Metadata();
  const status = create(StatusSchema, { code, message, details });
  metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, status)));
  return { code, details: message, metadata };
}
