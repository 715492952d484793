/**
 * The Node client of lockbroker, a service that hands out named locks.
 *
 *     const client = connect("unix:/run/lockbroker/lb.sock");
 *     await using lock = await client.lock("reports", { wait: 10_000 });
 *     await work({ signal: lock.signal, token: lock.fencingToken });
 *
 * @module
 */
export type { Client } from "./client.js";
export { connect } from "./client.js";
export type { LockInfo, Observed, ReleaseOutcome } from "./engine/protocol.js";
export type { BrokerReason, ErrorCode, LostReason, NotAcquiredReason } from "./errors.js";
export { LockbrokerError, LostError, NotAcquiredError } from "./errors.js";
export type { Lease } from "./lease.js";
export type { HeldLock, Lock } from "./lock.js";
export type { Observation } from "./observation.js";
export type { ConnectOptions, LeaseOptions, LockOptions, WaitOptions } from "./options.js";
export type { TlsFiles } from "./tls.js";
