/** Turns what the core says into messages, and messages and statuses into what it knows. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { anyUnpack, type Duration } from "@bufbuild/protobuf/wkt";
import { type Metadata, status as Status, type StatusObject } from "@grpc/grpc-js";
import {
  type Acquired,
  type Event,
  type Failure,
  type LockSpec,
  type LostReason,
  type Message,
  othersOf,
  type Refusal,
  type RefusalReason,
  type Request,
} from "../core/types.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";
import * as pb from "../gen/lockbroker/v1/lockbroker_pb.js";

/** The domain of every `google.rpc.ErrorInfo` of a broker. */
export const DOMAIN = "lockbroker";
/** A span longer than anybody needs, and short enough to be added to any moment, in milliseconds. */
const FAR = 2 ** 32 * 1000;

type WireDuration = { seconds: bigint; nanos: number };

/** Writes a span in milliseconds, of `FAR` at most. It is rounded up to whole ones, as everywhere on the wire. */
export function toWire(span: number): WireDuration;
export function toWire(span: number | undefined): WireDuration | undefined;
export function toWire(span: number | undefined): WireDuration | undefined {
  if (span === undefined) return undefined;
  const rounded = Math.ceil(Math.min(Math.max(-FAR, span), FAR));
  const seconds = Math.trunc(rounded / 1000);
  return { seconds: BigInt(seconds), nanos: (rounded - seconds * 1000) * 1e6 };
}

/** Reads a span in milliseconds; undefined if there is none or it makes no sense. */
export function fromWire(span: Duration | undefined): number | undefined {
  if (span === undefined || span.seconds < 0n || span.nanos < 0 || span.nanos > 999_999_999) return undefined;
  return Math.min(Number(span.seconds) * 1000 + span.nanos / 1e6, FAR);
}

/** Writes a message to a broker. `ttl` is that of `open`; undefined for the broker's default. */
export function toRequest(request: Request, ttl: number | undefined): pb.SessionRequest {
  switch (request.kind) {
    case "open":
      return wrap({ case: "open", value: { ttl: toWire(ttl) } });
    case "heartbeat":
      return wrap({ case: "heartbeat", value: { seq: BigInt(request.seq) } });
    case "endLock":
      return wrap({ case: "end", value: { lockRef: BigInt(request.lockRef) } });
    case "begin": {
      const { lockRef, spec, reattach: reattachLockId = "", reattachAlso } = request;
      const lock = toSpec(spec);
      const { weight = 1 } = spec.shared ?? {};
      const isReattach = request.reattach !== undefined;
      // A reattach names each permit by its id.
      const names = isReattach ? othersOf(spec) : (spec.also ?? []);
      const also = names.map((name, at) => ({ lock: { ...lock, name }, reattachLockId: reattachAlso[at] ?? "" }));
      const { maxWait, pollInterval } = request.wait ?? {};
      const wait = request.wait && { maxWait: toWire(maxWait), pollInterval: toWire(pollInterval) };
      const first = isReattach || weight === 1 ? lock : { ...lock, weight };
      return wrap({ case: "begin", value: { lockRef: BigInt(lockRef), lock: first, wait, reattachLockId, also } });
    }
  }
}

/** Writes a lock that is asked for, as `create` takes it. */
export function toSpec({ name, linger, minHold, owner, isKept, shared, value }: LockSpec) {
  const onDisconnect = isKept ? pb.LockSpec_OnDisconnect.KEEP : pb.LockSpec_OnDisconnect.UNSPECIFIED;
  const mode = shared === undefined ? pb.LockSpec_Mode.UNSPECIFIED : pb.LockSpec_Mode.SHARED;
  const limit = shared?.limit ?? 0;
  const told = { name, linger: toWire(linger), minHold: toWire(minHold), owner, onDisconnect, mode, limit };
  return value === undefined ? told : { ...told, value };
}

type SessionKind = Parameters<typeof create<typeof pb.SessionRequestSchema>>[1] extends infer Init | undefined
  ? Init extends { kind?: infer Kind }
    ? NonNullable<Kind>
    : never
  : never;

function wrap(kind: SessionKind): pb.SessionRequest {
  return create(pb.SessionRequestSchema, { kind });
}

/**
 * Returns the share of a ttl by which this client's clock may be slow beside the broker's, beyond what the broker reckons
 * with: it cannot read the clock that nothing slews (docs/safety.md, A2).
 */
export function clockMargin(ttl: number): number {
  return ttl / 30;
}

/** Reads a message from a broker. `ttl` is that of the Session, once it is known. Undefined: it makes no sense. */
export function fromResponse({ kind }: pb.SessionResponse, ttl: number): Message | undefined {
  switch (kind.case) {
    case "opened": {
      const granted = fromWire(kind.value.ttl);
      const expires = fromWire(kind.value.expiresAfterOpen);
      const heartbeatInterval = fromWire(kind.value.heartbeatInterval);
      if (granted === undefined || expires === undefined || !heartbeatInterval) return undefined;
      return { kind: "opened", ttl: granted, expiresAfter: expires - clockMargin(granted), heartbeatInterval };
    }
    case "heartbeatAck": {
      const expires = fromWire(kind.value.expiresAfterHeartbeat);
      if (expires === undefined) return { kind: "other" };
      const { seq, notRenewed } = kind.value;
      const expiresAfter = expires - clockMargin(ttl);
      return { kind: "heartbeatAck", seq: Number(seq), expiresAfter, notRenewed: notRenewed.map(Number) };
    }
    case "event": {
      const lockRef = Number(kind.value.lockRef);
      if (lockRef === 0 && kind.value.event?.kind.case === "draining") return { kind: "draining" };
      const event = fromEvent(kind.value.event);
      // A broker may say more than this client knows.
      return event === undefined ? { kind: "other" } : { kind: "lockEvent", lockRef, event };
    }
    default:
      return { kind: "other" };
  }
}

/** Reads an event of a lock; undefined if it says nothing here. */
function fromEvent(event: pb.LockEvent | undefined): Event | undefined {
  const kind = event?.kind;
  switch (kind?.case) {
    case "acquired":
      return { kind: "acquired", ...fromAcquired(kind.value), also: kind.value.also.map(fromAcquired) };
    case "notAcquired":
      return { kind: "notAcquired", ...fromRefusal(kind.value) };
    case "lost":
      return { kind: "lost", reason: fromLoss(kind.value) };
    case "released":
      return { kind: "released" };
    case "failed": {
      const { code, message, reason, retryAfter } = kind.value;
      return { kind: "failed", failure: { code: fromCode(code), message, reason, retryAfter: fromWire(retryAfter) } };
    }
    default:
      return undefined;
  }
}

/** Reads one lock that was acquired. */
export function fromAcquired({ lockId, fencingToken, permit }: pb.Acquired | pb.AlsoAcquired): Acquired {
  return { lockId, fencingToken: Number(fencingToken), permit };
}

/** Reads why a lock was not acquired. */
export function fromRefusal({ reason, owner, name }: pb.NotAcquired): Refusal {
  return { reason: REFUSALS[reason] ?? "UNKNOWN", owner, name };
}

/** Reads how a lock was lost. */
export function fromLoss({ reason }: pb.Lost): LostReason {
  return LOSSES[reason] ?? "EXPIRED";
}

const REFUSALS: Partial<Record<pb.NotAcquired_Reason, RefusalReason>> = {
  [pb.NotAcquired_Reason.HELD]: "HELD",
  [pb.NotAcquired_Reason.LINGERING]: "LINGERING",
  [pb.NotAcquired_Reason.MAX_WAIT]: "MAX_WAIT",
  [pb.NotAcquired_Reason.NOT_REATTACHABLE]: "NOT_REATTACHABLE",
  [pb.NotAcquired_Reason.CANCELLED]: "CANCELLED",
};

const LOSSES: Partial<Record<pb.Lost_Reason, LostReason>> = {
  [pb.Lost_Reason.EXPIRED]: "EXPIRED",
  [pb.Lost_Reason.GONE]: "GONE",
  [pb.Lost_Reason.TAKEN_OVER]: "TAKEN_OVER",
  [pb.Lost_Reason.REVOKED]: "REVOKED",
};

/** Reads a status code. Where nobody has answered in time, it makes no difference which side's time it was. */
function fromCode(code: number): string {
  return code === Status.DEADLINE_EXCEEDED ? "UNAVAILABLE" : (Status[code] ?? `status ${code}`);
}

/** Reads the status by which a call or a stream ended. */
export function fromStatus({ code, details, metadata }: StatusObject): Failure {
  const failure = { code: fromCode(code), message: details, reason: "" };
  let retryAfter: number | undefined;
  for (const detail of detailsOf(metadata)) {
    const info = anyUnpack(detail, ErrorInfoSchema);
    if (info?.domain === DOMAIN) failure.reason = info.reason;
    const retry = anyUnpack(detail, RetryInfoSchema);
    if (retry !== undefined) retryAfter = fromWire(retry.retryDelay);
  }
  return { ...failure, retryAfter };
}

function detailsOf(metadata: Metadata) {
  const [bytes] = metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(bytes)) return [];
  try {
    return fromBinary(StatusSchema, bytes).details;
  } catch {
    // None of a broker's: a proxy may put anything there.
    return [];
  }
}
