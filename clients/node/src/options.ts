import type { TlsFiles } from "./tls.js";

/** The settings of a client. Times are in milliseconds. */
export interface ConnectOptions {
  /** The files for TLS, for `https://` endpoints. */
  readonly tls?: TlsFiles | undefined;
  /**
   * The ttl of all locks of the client: for so long a lock outlives a holder that falls silent. It is also that of leases that
   * have none of their own. 5,000 up to the broker's `--max-ttl`. Default: the broker's, 15,000.
   */
  readonly ttl?: number | undefined;
  /** The label of all locks and leases that have none of their own: see {@link LockOptions.owner}. */
  readonly owner?: string | undefined;
  /**
   * The longest time that a broker's answer may take, connecting included, beyond the wait that was asked for. After that a
   * call fails with `UNAVAILABLE`. More than 0. Default: 5,000.
   */
  readonly answerTimeout?: number | undefined;
  /**
   * Hold the locks in a thread of the client's own. Default: true. Then a blocked event loop loses no locks, and
   * `process.exit` releases them. With false a loop that is blocked for the ttl loses them; `check` says so. Use that where
   * threads cannot be started: in a bundle of one file, or under Node's permission model.
   */
  readonly worker?: boolean | undefined;
}

/** The properties of a lock that is asked for. Times are in milliseconds, 0 or more. */
export interface LockOptions {
  /**
   * Gives the wait up when it is aborted, and leaves the queue at once. After the grant it aborts {@link Lock.signal}, and
   * the lock is held until it is released: your work may still be stopping. Null is none.
   */
  readonly signal?: AbortSignal | null | undefined;
  /** A label that is shown to others who ask for the lock; up to 128 bytes without control characters. Default: none. */
  readonly owner?: string | undefined;
  /** The time after the release for which nobody can acquire the lock; up to an hour. Default: 0. */
  readonly linger?: number | undefined;
  /**
   * The time after the grant for which nobody else can acquire the lock, whenever and however this client ends; up to an hour.
   * For jobs that must not run twice on machines whose clocks differ. Default: 0.
   */
  readonly minHold?: number | undefined;
  /**
   * Keep the lock until its validity is over when the connection ends, however that ends: a proxy that closes connections, as in
   * a reload, costs no lock then. The price: if this process dies, others wait until the validity is over. `release` and `close`
   * release it at once all the same. Default: false.
   */
  readonly keepOnDisconnect?: boolean | undefined;
  /**
   * Share the lock: others who share it may have it at the same time, each with a permit ({@link Lock.permit}), and nobody has it
   * alone meanwhile. Who waits for it alone lets in no new ones. `linger` and `minHold` close the permit alone. Default: false.
   */
  readonly shared?: boolean | undefined;
  /**
   * Share the lock among so many at a time, 1 to 4,096. All who use the name should say the same. Default: 4,096, if it is `shared`.
   */
  readonly limit?: number | undefined;
  /**
   * Share the lock by so many permits at once, 1 to 16, and at most the `limit`: all or none. Who waits for several lets in no new
   * ones. {@link Lock.locks} has all of them; when one is lost, all are. Not with `also` and `minHold`. Default: 1, if it is `shared`.
   */
  readonly weight?: number | undefined;
  /**
   * The names of other locks to ask for together with this one, in the same way: all or none, for one {@link Lock}. At most 15, and
   * not with `minHold`. Whoever asks for several waits for nobody in a circle, in whatever order the names are said. When one is
   * lost, all are. See {@link Lock.locks}. Default: none.
   */
  readonly also?: readonly string[] | undefined;
  /**
   * The value for those who {@link Client.observe} the lock: where a leader can be reached, say. Up to 1,024 bytes, or a text, which is
   * sent as UTF-8; it may be empty. {@link Lock.update} gives the lock another one. Not with `shared`, `limit` and `also`. Default: none.
   */
  readonly value?: string | Uint8Array | undefined;
}

/** The properties of a lease that is asked for, and the way to wait for it. Times are in milliseconds, 0 or more. */
export interface LeaseOptions extends Pick<LockOptions, "owner" | "linger" | "minHold" | "shared" | "limit"> {
  /**
   * The time for which the lease stands without renewal. 5,000 up to the broker's `--max-ttl`. Default: the client's `ttl`, or
   * the broker's, 15,000.
   */
  readonly ttl?: number | undefined;
  /** The longest wait, up to 30,000, exact to 50 ms, or to 150 ms while the store is slow. Default: 0, which tries once. */
  readonly wait?: number | undefined;
  /**
   * Gives the call up when it is aborted. If a broker grants the lease at that very moment, the lock stands for its ttl. Null is
   * none.
   */
  readonly signal?: AbortSignal | null | undefined;
}

/** The way to wait. Times are in milliseconds, 0 or more. */
export interface WaitOptions extends LockOptions {
  /**
   * The longest wait, exact to 50 ms, or to 150 ms while the store is slow; 0 tries once. Default: until the lock is granted or the signal is aborted; Infinity
   * means the same. Other times are finite.
   */
  readonly wait?: number | undefined;
  /**
   * The least time between two of the broker's polls for a lock that another broker holds; 1 ms to an hour. Default: the
   * broker's choice.
   */
  readonly pollInterval?: number | undefined;
}
