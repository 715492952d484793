/**
 * The messages of the protocol, and a definition of its service for `@grpc/grpc-js`, for programs that call brokers
 * themselves:
 *
 *     import { makeClientConstructor } from "@grpc/grpc-js";
 *     import { lockService } from "lockbroker/v1";
 *
 *     const Stub = makeClientConstructor(lockService, "LockService");
 */
import { create, type DescMessage, type DescMethod, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { MethodDefinition } from "@grpc/grpc-js";
import type * as pb from "../gen/lockbroker/v1/lockbroker_pb.js";
import { LockService } from "../gen/lockbroker/v1/lockbroker_pb.js";

export * from "../gen/lockbroker/v1/lockbroker_pb.js";

function define<I, O>(method: DescMethod): MethodDefinition<I, O> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    ...codec<I, "request">("request", method.input),
    ...codec<O, "response">("response", method.output),
  } as MethodDefinition<I, O>;
}

type Codec<T, Name extends string> = { [K in `${Name}Serialize`]: (message: T) => Buffer } & {
  [K in `${Name}Deserialize`]: (bytes: Buffer) => T;
};

function codec<T, Name extends string>(name: Name, schema: DescMessage): Codec<T, Name> {
  return {
    // Takes what `create` takes, too.
    [`${name}Serialize`]: (message: T) =>
      Buffer.from(toBinary(schema, create(schema, message as MessageShape<DescMessage>))),
    [`${name}Deserialize`]: (bytes: Buffer) => fromBinary(schema, bytes) as T,
  } as Codec<T, Name>;
}

/** The service of a broker, as `@grpc/grpc-js` wants it. */
export const lockService = {
  Acquire: define<pb.AcquireRequest, pb.AcquireResponse>(LockService.method.acquire),
  WaitAcquire: define<pb.WaitAcquireRequest, pb.WaitAcquireResponse>(LockService.method.waitAcquire),
  Session: define<pb.SessionRequest, pb.SessionResponse>(LockService.method.session),
  Release: define<pb.ReleaseRequest, pb.ReleaseResponse>(LockService.method.release),
  AcquireLease: define<pb.AcquireLeaseRequest, pb.AcquireLeaseResponse>(LockService.method.acquireLease),
  RenewLease: define<pb.RenewLeaseRequest, pb.RenewLeaseResponse>(LockService.method.renewLease),
  GetLock: define<pb.GetLockRequest, pb.GetLockResponse>(LockService.method.getLock),
  UpdateLock: define<pb.UpdateLockRequest, pb.UpdateLockResponse>(LockService.method.updateLock),
  Observe: define<pb.ObserveRequest, pb.ObserveResponse>(LockService.method.observe),
};
