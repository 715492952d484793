import { create } from "@bufbuild/protobuf";
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { fromWire, toWire } from "../engine/wire.js";
import {
  type LockSpec,
  LockSpec_Mode,
  LockSpec_OnDisconnect,
  NotAcquired_Reason as Refusal,
  type SessionRequest,
  type SessionResponse,
  SessionResponseSchema,
} from "../v1/index.js";
import type { Event, Party, TestLock } from "./locks.js";

/** The broker, as its Sessions see it. */
export interface Surroundings {
  /** Milliseconds. */
  readonly ttl: number;
  readonly isSilent: boolean;
  lock(name: string): TestLock;
}

/** The most permits of a lock. */
const MOST_PERMITS = 4096;

/** Returns the validity that a broker tells of a ttl: 13 s of 15 s. */
export function validity(ttl: number): number {
  return (ttl * 13) / 15;
}

/** Returns what is said of a lock that is asked for. */
export function properties(spec: LockSpec | undefined): Omit<Party, "tell"> {
  return {
    owner: spec?.owner ?? "",
    linger: fromWire(spec?.linger) ?? 0,
    minHold: fromWire(spec?.minHold) ?? 0,
    isKept: spec?.onDisconnect === LockSpec_OnDisconnect.KEEP,
    limit: spec?.mode === LockSpec_Mode.SHARED ? spec.limit || MOST_PERMITS : 0,
  };
}

/** A client's stream. */
export class Session {
  readonly #stream: ServerDuplexStream<SessionRequest, SessionResponse>;
  readonly #broker: Surroundings;
  /** The locks that it has or waits for, by its handle. */
  readonly #parties = new Map<bigint, { party: Party; lock: TestLock }>();

  constructor(stream: ServerDuplexStream<SessionRequest, SessionResponse>, broker: Surroundings) {
    this.#stream = stream;
    this.#broker = broker;
    stream.on("data", (request: SessionRequest) => this.#take(request));
    stream.on("error", () => this.#end());
    stream.on("cancelled", () => this.#end());
    stream.on("end", () => {
      this.#end();
      stream.end();
    });
  }

  /** Releases everything that is not to be kept, as the end of a stream does. */
  #end(): void {
    for (const { party, lock } of [...this.#parties.values()]) {
      if (!party.isKept || !lock.orphan(party, this.#broker.ttl)) lock.leave(party);
    }
    this.#parties.clear();
  }

  drain(): void {
    this.#tell(0n, { case: "draining", value: {} });
  }

  #take({ kind }: SessionRequest): void {
    const { ttl } = this.#broker;
    switch (kind.case) {
      case "open":
        return this.#send({
          case: "opened",
          value: { ttl: toWire(ttl), expiresAfterOpen: toWire(validity(ttl)), heartbeatInterval: toWire(ttl / 3) },
        });
      case "heartbeat":
        return this.#send({
          case: "heartbeatAck",
          value: { seq: kind.value.seq, expiresAfterHeartbeat: toWire(validity(ttl)) },
        });
      case "begin": {
        const { lockRef, lock: spec, wait, reattachLockId } = kind.value;
        const lock = this.#broker.lock(spec?.name ?? "");
        const tell = (event: Event) => this.#tellOf(lockRef, event);
        const party = { ...properties(spec), tell };
        this.#parties.set(lockRef, { party, lock });
        if (reattachLockId !== "") return lock.reattach(party, reattachLockId);
        return lock.ask(party, wait && { limit: fromWire(wait.maxWait) });
      }
      case "end":
        return this.#endLock(kind.value.lockRef);
    }
  }

  #endLock(ref: bigint): void {
    const had = this.#parties.get(ref);
    this.#parties.delete(ref);
    switch (had?.lock.leave(had.party)) {
      case "held":
        return this.#tell(ref, { case: "released", value: {} });
      case "waited":
        return this.#tell(ref, { case: "notAcquired", value: { reason: Refusal.CANCELLED, owner: "" } });
    }
  }

  #tellOf(ref: bigint, event: Event): void {
    if (!this.#parties.has(ref)) return;
    if (event.case !== "acquired" && event.case !== "queued") this.#parties.delete(ref);
    this.#tell(ref, event);
  }

  #tell(lockRef: bigint, kind: Event): void {
    this.#send({ case: "event", value: { lockRef, event: { kind } } });
  }

  #send(kind: NonNullable<NonNullable<Parameters<typeof create<typeof SessionResponseSchema>>[1]>["kind"]>): void {
    if (!this.#broker.isSilent && this.#stream.writable) this.#stream.write(create(SessionResponseSchema, { kind }));
  }
}
