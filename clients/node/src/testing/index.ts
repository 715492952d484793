/**
 * A broker for tests. It runs in the test's own process, keeps its locks in memory, and grants, refuses and loses them on
 * command.
 *
 *     await using broker = await TestBroker.start();
 *     await using client = connect(broker.url);
 *     broker.take("reports", "somebody"); // Now somebody else has it.
 *     broker.lose("nightly");             // The holder's `lock.signal` is aborted.
 *
 * It speaks the protocol as far as this client uses it: Session, Release, GetLock, AcquireLease and RenewLease. It checks no
 * names and no bounds, and knows no TLS. It does not know of `also` and `weight`: several locks or permits together are refused,
 * as by a broker of an earlier version. Nor does it know of values: that of a lock is ignored, and observing a lock and updating its value fail as
 * `UNEXPECTED`. For tests of a whole system, start a real broker with `--store memory`.
 *
 * @module
 */
import { create } from "@bufbuild/protobuf";
import {
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { toWire } from "../engine/wire.js";
import type { BrokerReason, LostReason } from "../errors.js";
import {
  type GetLockRequest,
  type GetLockResponse,
  GetLockResponseSchema,
  Lost_Reason as Lost,
  lockService,
  ReleaseResponse_Outcome as Outcome,
  type ReleaseRequest,
  type ReleaseResponse,
  ReleaseResponseSchema,
  type SessionRequest,
  type SessionResponse,
  GetLockResponse_State as State,
} from "../v1/index.js";
import { TestLeases } from "./leases.js";
import { TestLock } from "./locks.js";
import { Session, type Surroundings, validity } from "./session.js";

/** The settings of a broker for tests. */
export interface TestBrokerOptions {
  /**
   * The ttl of all locks in milliseconds, whatever clients ask for. Default: 15,000. With one of 500 a test sees quickly
   * what a client does when it hears nothing.
   */
  readonly ttl?: number | undefined;
}

/** Somebody who holds a lock. */
export interface TestHolder {
  readonly owner: string;
  readonly fencingToken: number;
  /** Unset: the lock is not shared. */
  readonly permit?: number;
}

const LOSSES: Record<Exclude<LostReason, "RELEASED">, Lost> = {
  EXPIRED: Lost.EXPIRED,
  GONE: Lost.GONE,
  TAKEN_OVER: Lost.TAKEN_OVER,
  REVOKED: Lost.REVOKED,
};

/** A broker for tests. */
export class TestBroker implements AsyncDisposable {
  readonly #server = new Server();
  readonly #locks = new Map<string, TestLock>();
  readonly #sessions = new Set<Session>();
  readonly #ttl: number;
  #isSilent = false;
  #url = "";

  private constructor(ttl: number) {
    this.#ttl = ttl;
    const session = (stream: ServerDuplexStream<SessionRequest, SessionResponse>) => this.#open(stream);
    const release: handleUnaryCall<ReleaseRequest, ReleaseResponse> = ({ request }, done) =>
      done(null, this.#release(request));
    const get: handleUnaryCall<GetLockRequest, GetLockResponse> = ({ request }, done) => done(null, this.#get(request));
    const { Session, Release, GetLock, AcquireLease, RenewLease } = lockService;
    const { acquire, renew } = new TestLeases(this.#surroundings());
    const service = { Session: session, Release: release, GetLock: get, AcquireLease: acquire, RenewLease: renew };
    const methods = { Session, Release, GetLock, AcquireLease, RenewLease };
    this.#server.addService(methods, service as unknown as UntypedServiceImplementation);
  }

  /** Starts a broker on a free port of the loopback address. */
  static async start({ ttl = 15_000 }: TestBrokerOptions = {}): Promise<TestBroker> {
    const broker = new TestBroker(ttl);
    const port = await new Promise<number>((resolve, reject) => {
      const bound = (error: Error | null, port: number) => (error === null ? resolve(port) : reject(error));
      broker.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), bound);
    });
    broker.#url = `http://127.0.0.1:${port}`;
    return broker;
  }

  /** The place where it listens, for `connect`. */
  get url(): string {
    return this.#url;
  }

  /** Ends the broker at once, as a crash does. Clients find their streams broken, and lose their locks in time. */
  stop(): void {
    this.#server.forceShutdown();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
  }

  /** Gives the lock to somebody else with that label, alone. Clients that hold or share it lose it. */
  take(name: string, owner = "somebody else"): void {
    this.#lock(name).take(owner);
  }

  /** Releases the lock, whoever has it. The first who waits for it gets it. Clients that held or shared it lose it. */
  free(name: string): void {
    this.#lock(name).end({ case: "lost", value: { reason: Lost.GONE } });
  }

  /**
   * Makes the client that holds the lock, or all that share it, lose it; that of a lease finds it at the next renewal. Throws if no
   * client does.
   */
  lose(name: string, reason: LostReason = "EXPIRED"): void {
    const lost = () => ({ case: "lost", value: { reason: LOSSES[reason as keyof typeof LOSSES] } }) as const;
    const isHeld = this.#lock(name).end(reason === "RELEASED" ? { case: "released", value: {} } : lost());
    if (!isHeld) throw new Error(`no client holds the lock ${JSON.stringify(name)}`);
  }

  /** Makes the next request for the lock fail with that reason. */
  fail(name: string, reason: BrokerReason = "STORE_UNAVAILABLE"): void {
    this.#lock(name).failures.push(reason);
  }

  /** Makes the broker say nothing any more, as a network that is cut does. False ends that. */
  silence(isSilent = true): void {
    this.#isSilent = isSilent;
  }

  /** Tells all clients that the broker is going away. They connect again and move their locks. */
  drain(): void {
    for (const session of this.#sessions) session.drain();
  }

  /** Returns who holds the lock; undefined if nobody does. Of those who share it, returns the one with the lowest permit. */
  holder(name: string): TestHolder | undefined {
    return this.holders(name)[0];
  }

  /** Returns who holds the lock, or all who share it, in the order of their permits. */
  holders(name: string): readonly TestHolder[] {
    return this.#lock(name).holders.map(({ owner, token: fencingToken, permit }) =>
      permit === undefined ? { owner, fencingToken } : { owner, fencingToken, permit },
    );
  }

  /** Returns how many wait for the lock. */
  waiters(name: string): number {
    return this.#lock(name).waiters;
  }

  #lock(name: string): TestLock {
    let lock = this.#locks.get(name);
    if (lock === undefined) {
      lock = new TestLock();
      this.#locks.set(name, lock);
    }
    return lock;
  }

  #surroundings(): Surroundings {
    const isSilent = () => this.#isSilent;
    return {
      ttl: this.#ttl,
      get isSilent() {
        return isSilent();
      },
      lock: (name: string) => this.#lock(name),
    };
  }

  #open(stream: ServerDuplexStream<SessionRequest, SessionResponse>): void {
    const session = new Session(stream, this.#surroundings());
    this.#sessions.add(session);
    stream.on("close", () => this.#sessions.delete(session));
  }

  #release({ name, lockId }: ReleaseRequest): ReleaseResponse {
    const lock = this.#lock(name);
    let outcome = lock.holders.length === 0 ? Outcome.NOT_HELD : Outcome.HELD_BY_ANOTHER;
    if (lock.releaseById(lockId)) outcome = Outcome.RELEASED;
    return create(ReleaseResponseSchema, { outcome });
  }

  #get({ name, lockId, permit }: GetLockRequest): GetLockResponse {
    const lock = this.#lock(name);
    const named = lock.find(lockId);
    const asked = permit ?? named?.permit;
    const holder = lock.at(asked);
    // Who asks about the lock itself hears how many share it.
    const sharedCount = asked === undefined && holder === undefined ? lock.holders.length : 0;
    if (holder === undefined && sharedCount === 0) {
      const lingers = lock.lingers(asked);
      const told = lingers > 0 ? { state: State.LINGERING, freeWithin: toWire(lingers) } : { state: State.FREE };
      return create(GetLockResponseSchema, told);
    }
    const { owner = "", token = 0 } = holder ?? {};
    const expiresAfterRequest = holder !== undefined && holder === named ? toWire(validity(this.#ttl)) : undefined;
    const [freeWithin, fencingToken] = [toWire(this.#ttl), BigInt(token)];
    const told = { state: State.HELD, owner, freeWithin, expiresAfterRequest, fencingToken, sharedCount };
    return create(GetLockResponseSchema, told);
  }
}
