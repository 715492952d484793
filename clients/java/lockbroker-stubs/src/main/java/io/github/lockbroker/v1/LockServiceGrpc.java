package io.github.lockbroker.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Hands out named locks. Any broker of a deployment answers any call.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class LockServiceGrpc {

  private LockServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "lockbroker.v1.LockService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.AcquireRequest,
      io.github.lockbroker.v1.AcquireResponse> getAcquireMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Acquire",
      requestType = io.github.lockbroker.v1.AcquireRequest.class,
      responseType = io.github.lockbroker.v1.AcquireResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.AcquireRequest,
      io.github.lockbroker.v1.AcquireResponse> getAcquireMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.AcquireRequest, io.github.lockbroker.v1.AcquireResponse> getAcquireMethod;
    if ((getAcquireMethod = LockServiceGrpc.getAcquireMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getAcquireMethod = LockServiceGrpc.getAcquireMethod) == null) {
          LockServiceGrpc.getAcquireMethod = getAcquireMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.AcquireRequest, io.github.lockbroker.v1.AcquireResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Acquire"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.AcquireRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.AcquireResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("Acquire"))
              .build();
        }
      }
    }
    return getAcquireMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.WaitAcquireRequest,
      io.github.lockbroker.v1.WaitAcquireResponse> getWaitAcquireMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "WaitAcquire",
      requestType = io.github.lockbroker.v1.WaitAcquireRequest.class,
      responseType = io.github.lockbroker.v1.WaitAcquireResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.WaitAcquireRequest,
      io.github.lockbroker.v1.WaitAcquireResponse> getWaitAcquireMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.WaitAcquireRequest, io.github.lockbroker.v1.WaitAcquireResponse> getWaitAcquireMethod;
    if ((getWaitAcquireMethod = LockServiceGrpc.getWaitAcquireMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getWaitAcquireMethod = LockServiceGrpc.getWaitAcquireMethod) == null) {
          LockServiceGrpc.getWaitAcquireMethod = getWaitAcquireMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.WaitAcquireRequest, io.github.lockbroker.v1.WaitAcquireResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "WaitAcquire"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.WaitAcquireRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.WaitAcquireResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("WaitAcquire"))
              .build();
        }
      }
    }
    return getWaitAcquireMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.ReleaseRequest,
      io.github.lockbroker.v1.ReleaseResponse> getReleaseMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Release",
      requestType = io.github.lockbroker.v1.ReleaseRequest.class,
      responseType = io.github.lockbroker.v1.ReleaseResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.ReleaseRequest,
      io.github.lockbroker.v1.ReleaseResponse> getReleaseMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.ReleaseRequest, io.github.lockbroker.v1.ReleaseResponse> getReleaseMethod;
    if ((getReleaseMethod = LockServiceGrpc.getReleaseMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getReleaseMethod = LockServiceGrpc.getReleaseMethod) == null) {
          LockServiceGrpc.getReleaseMethod = getReleaseMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.ReleaseRequest, io.github.lockbroker.v1.ReleaseResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Release"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.ReleaseRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.ReleaseResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("Release"))
              .build();
        }
      }
    }
    return getReleaseMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.AcquireLeaseRequest,
      io.github.lockbroker.v1.AcquireLeaseResponse> getAcquireLeaseMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "AcquireLease",
      requestType = io.github.lockbroker.v1.AcquireLeaseRequest.class,
      responseType = io.github.lockbroker.v1.AcquireLeaseResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.AcquireLeaseRequest,
      io.github.lockbroker.v1.AcquireLeaseResponse> getAcquireLeaseMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.AcquireLeaseRequest, io.github.lockbroker.v1.AcquireLeaseResponse> getAcquireLeaseMethod;
    if ((getAcquireLeaseMethod = LockServiceGrpc.getAcquireLeaseMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getAcquireLeaseMethod = LockServiceGrpc.getAcquireLeaseMethod) == null) {
          LockServiceGrpc.getAcquireLeaseMethod = getAcquireLeaseMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.AcquireLeaseRequest, io.github.lockbroker.v1.AcquireLeaseResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "AcquireLease"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.AcquireLeaseRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.AcquireLeaseResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("AcquireLease"))
              .build();
        }
      }
    }
    return getAcquireLeaseMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.RenewLeaseRequest,
      io.github.lockbroker.v1.RenewLeaseResponse> getRenewLeaseMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RenewLease",
      requestType = io.github.lockbroker.v1.RenewLeaseRequest.class,
      responseType = io.github.lockbroker.v1.RenewLeaseResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.RenewLeaseRequest,
      io.github.lockbroker.v1.RenewLeaseResponse> getRenewLeaseMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.RenewLeaseRequest, io.github.lockbroker.v1.RenewLeaseResponse> getRenewLeaseMethod;
    if ((getRenewLeaseMethod = LockServiceGrpc.getRenewLeaseMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getRenewLeaseMethod = LockServiceGrpc.getRenewLeaseMethod) == null) {
          LockServiceGrpc.getRenewLeaseMethod = getRenewLeaseMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.RenewLeaseRequest, io.github.lockbroker.v1.RenewLeaseResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RenewLease"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.RenewLeaseRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.RenewLeaseResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("RenewLease"))
              .build();
        }
      }
    }
    return getRenewLeaseMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.GetLockRequest,
      io.github.lockbroker.v1.GetLockResponse> getGetLockMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetLock",
      requestType = io.github.lockbroker.v1.GetLockRequest.class,
      responseType = io.github.lockbroker.v1.GetLockResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.GetLockRequest,
      io.github.lockbroker.v1.GetLockResponse> getGetLockMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.GetLockRequest, io.github.lockbroker.v1.GetLockResponse> getGetLockMethod;
    if ((getGetLockMethod = LockServiceGrpc.getGetLockMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getGetLockMethod = LockServiceGrpc.getGetLockMethod) == null) {
          LockServiceGrpc.getGetLockMethod = getGetLockMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.GetLockRequest, io.github.lockbroker.v1.GetLockResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetLock"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.GetLockRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.GetLockResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("GetLock"))
              .build();
        }
      }
    }
    return getGetLockMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.UpdateLockRequest,
      io.github.lockbroker.v1.UpdateLockResponse> getUpdateLockMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateLock",
      requestType = io.github.lockbroker.v1.UpdateLockRequest.class,
      responseType = io.github.lockbroker.v1.UpdateLockResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.UpdateLockRequest,
      io.github.lockbroker.v1.UpdateLockResponse> getUpdateLockMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.UpdateLockRequest, io.github.lockbroker.v1.UpdateLockResponse> getUpdateLockMethod;
    if ((getUpdateLockMethod = LockServiceGrpc.getUpdateLockMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getUpdateLockMethod = LockServiceGrpc.getUpdateLockMethod) == null) {
          LockServiceGrpc.getUpdateLockMethod = getUpdateLockMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.UpdateLockRequest, io.github.lockbroker.v1.UpdateLockResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateLock"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.UpdateLockRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.UpdateLockResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("UpdateLock"))
              .build();
        }
      }
    }
    return getUpdateLockMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.ObserveRequest,
      io.github.lockbroker.v1.ObserveResponse> getObserveMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Observe",
      requestType = io.github.lockbroker.v1.ObserveRequest.class,
      responseType = io.github.lockbroker.v1.ObserveResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.ObserveRequest,
      io.github.lockbroker.v1.ObserveResponse> getObserveMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.ObserveRequest, io.github.lockbroker.v1.ObserveResponse> getObserveMethod;
    if ((getObserveMethod = LockServiceGrpc.getObserveMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getObserveMethod = LockServiceGrpc.getObserveMethod) == null) {
          LockServiceGrpc.getObserveMethod = getObserveMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.ObserveRequest, io.github.lockbroker.v1.ObserveResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Observe"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.ObserveRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.ObserveResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("Observe"))
              .build();
        }
      }
    }
    return getObserveMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.SessionRequest,
      io.github.lockbroker.v1.SessionResponse> getSessionMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Session",
      requestType = io.github.lockbroker.v1.SessionRequest.class,
      responseType = io.github.lockbroker.v1.SessionResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.BIDI_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.SessionRequest,
      io.github.lockbroker.v1.SessionResponse> getSessionMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.SessionRequest, io.github.lockbroker.v1.SessionResponse> getSessionMethod;
    if ((getSessionMethod = LockServiceGrpc.getSessionMethod) == null) {
      synchronized (LockServiceGrpc.class) {
        if ((getSessionMethod = LockServiceGrpc.getSessionMethod) == null) {
          LockServiceGrpc.getSessionMethod = getSessionMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.SessionRequest, io.github.lockbroker.v1.SessionResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.BIDI_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Session"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.SessionRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.SessionResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockServiceMethodDescriptorSupplier("Session"))
              .build();
        }
      }
    }
    return getSessionMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static LockServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LockServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LockServiceStub>() {
        @java.lang.Override
        public LockServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LockServiceStub(channel, callOptions);
        }
      };
    return LockServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static LockServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LockServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LockServiceBlockingV2Stub>() {
        @java.lang.Override
        public LockServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LockServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return LockServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static LockServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LockServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LockServiceBlockingStub>() {
        @java.lang.Override
        public LockServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LockServiceBlockingStub(channel, callOptions);
        }
      };
    return LockServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static LockServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LockServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LockServiceFutureStub>() {
        @java.lang.Override
        public LockServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LockServiceFutureStub(channel, callOptions);
        }
      };
    return LockServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Hands out named locks. Any broker of a deployment answers any call.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Tries once to take a lock. The first event is `acquired` or `not_acquired`. After `acquired` the
     * stream stays open for as long as the lock is wanted: cancelling it, or losing the connection,
     * releases the lock. Status: OK after `not_acquired` and `released`, ABORTED after `lost`,
     * INVALID_ARGUMENT, UNAVAILABLE (store away or in quarantine) or RESOURCE_EXHAUSTED otherwise.
     * </pre>
     */
    default void acquire(io.github.lockbroker.v1.AcquireRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.AcquireResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getAcquireMethod(), responseObserver);
    }

    /**
     * <pre>
     * Queues for a lock until it is granted or `max_wait` is over. The first event is `acquired`,
     * `not_acquired` or `queued`; `queued` is repeated every 5 s. Waits through a store that is away.
     * Everything else is as with Acquire.
     * </pre>
     */
    default void waitAcquire(io.github.lockbroker.v1.WaitAcquireRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.WaitAcquireResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWaitAcquireMethod(), responseObserver);
    }

    /**
     * <pre>
     * Releases the grant that a lock id names, from any connection and at any broker. Idempotent. A
     * stale id, or that of another lock, changes nothing; the outcome says so with status OK.
     * </pre>
     */
    default void release(io.github.lockbroker.v1.ReleaseRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ReleaseResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getReleaseMethod(), responseObserver);
    }

    /**
     * <pre>
     * Takes a lock for a client that can hold no stream: a cron job, a web page, a function. The lock
     * stands for its ttl. RenewLease prolongs it, Release ends it, and so does the end of the ttl. The
     * answer comes when the lock is acquired, or when `max_wait` is over. A call that is cancelled before
     * it is answered leaves no lock behind. If the answer is lost on its way, the lock stands for its ttl;
     * with a `request_id` the call can be repeated, and is answered with the same lease.
     * </pre>
     */
    default void acquireLease(io.github.lockbroker.v1.AcquireLeaseRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.AcquireLeaseResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getAcquireLeaseMethod(), responseObserver);
    }

    /**
     * <pre>
     * Renews a lease for its ttl, at any broker. Only leases have this: a stream renews its own locks. An
     * error says nothing about the lease: try again, for as long as it is valid.
     * </pre>
     */
    default void renewLease(io.github.lockbroker.v1.RenewLeaseRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.RenewLeaseResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRenewLeaseMethod(), responseObserver);
    }

    /**
     * <pre>
     * Looks at a lock without touching it.
     * </pre>
     */
    default void getLock(io.github.lockbroker.v1.GetLockRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.GetLockResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetLockMethod(), responseObserver);
    }

    /**
     * <pre>
     * Gives the grant that a lock id names another `value`, from any connection and at any broker. The lock must have been asked for with
     * one. A stale id, or that of another lock, changes nothing; the outcome says so with status OK. UNAVAILABLE: the
     * value may have been updated or not, or somebody else has updated it at the same time. Try again; for a lock that was asked
     * for without a value, brokers that do not keep it say so each time.
     * </pre>
     */
    default void updateLock(io.github.lockbroker.v1.UpdateLockRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.UpdateLockResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateLockMethod(), responseObserver);
    }

    /**
     * <pre>
     * Tells who holds a lock and with which `value`, at once and whenever that changes: what another broker does, within 1.2 s, or 4 s if the store is slow. The
     * last state is repeated every 5 s; who hears nothing for three times that long knows nothing any more. What is told is what this broker has
     * seen last. Between two answers a lock may have been free, or held by others, and a value may have been another one. A lower
     * fencing token is never told after a higher one. The stream has no end of its own: UNAVAILABLE if the broker goes
     * away. A policy allows it to whoever may GetLock.
     * </pre>
     */
    default void observe(io.github.lockbroker.v1.ObserveRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ObserveResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getObserveMethod(), responseObserver);
    }

    /**
     * <pre>
     * Many locks on one stream. The client sends `open` first and then heartbeats, and begins and ends
     * locks as it likes. Half-closing or cancelling the stream releases everything on it. A stream that
     * falls silent loses its locks when the validity that its client was last told is over.
     * </pre>
     */
    default io.grpc.stub.StreamObserver<io.github.lockbroker.v1.SessionRequest> session(
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.SessionResponse> responseObserver) {
      return io.grpc.stub.ServerCalls.asyncUnimplementedStreamingCall(getSessionMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service LockService.
   * <pre>
   * Hands out named locks. Any broker of a deployment answers any call.
   * </pre>
   */
  public static abstract class LockServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return LockServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service LockService.
   * <pre>
   * Hands out named locks. Any broker of a deployment answers any call.
   * </pre>
   */
  public static final class LockServiceStub
      extends io.grpc.stub.AbstractAsyncStub<LockServiceStub> {
    private LockServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LockServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LockServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Tries once to take a lock. The first event is `acquired` or `not_acquired`. After `acquired` the
     * stream stays open for as long as the lock is wanted: cancelling it, or losing the connection,
     * releases the lock. Status: OK after `not_acquired` and `released`, ABORTED after `lost`,
     * INVALID_ARGUMENT, UNAVAILABLE (store away or in quarantine) or RESOURCE_EXHAUSTED otherwise.
     * </pre>
     */
    public void acquire(io.github.lockbroker.v1.AcquireRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.AcquireResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getAcquireMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Queues for a lock until it is granted or `max_wait` is over. The first event is `acquired`,
     * `not_acquired` or `queued`; `queued` is repeated every 5 s. Waits through a store that is away.
     * Everything else is as with Acquire.
     * </pre>
     */
    public void waitAcquire(io.github.lockbroker.v1.WaitAcquireRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.WaitAcquireResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getWaitAcquireMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Releases the grant that a lock id names, from any connection and at any broker. Idempotent. A
     * stale id, or that of another lock, changes nothing; the outcome says so with status OK.
     * </pre>
     */
    public void release(io.github.lockbroker.v1.ReleaseRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ReleaseResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getReleaseMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Takes a lock for a client that can hold no stream: a cron job, a web page, a function. The lock
     * stands for its ttl. RenewLease prolongs it, Release ends it, and so does the end of the ttl. The
     * answer comes when the lock is acquired, or when `max_wait` is over. A call that is cancelled before
     * it is answered leaves no lock behind. If the answer is lost on its way, the lock stands for its ttl;
     * with a `request_id` the call can be repeated, and is answered with the same lease.
     * </pre>
     */
    public void acquireLease(io.github.lockbroker.v1.AcquireLeaseRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.AcquireLeaseResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getAcquireLeaseMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Renews a lease for its ttl, at any broker. Only leases have this: a stream renews its own locks. An
     * error says nothing about the lease: try again, for as long as it is valid.
     * </pre>
     */
    public void renewLease(io.github.lockbroker.v1.RenewLeaseRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.RenewLeaseResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRenewLeaseMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Looks at a lock without touching it.
     * </pre>
     */
    public void getLock(io.github.lockbroker.v1.GetLockRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.GetLockResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetLockMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Gives the grant that a lock id names another `value`, from any connection and at any broker. The lock must have been asked for with
     * one. A stale id, or that of another lock, changes nothing; the outcome says so with status OK. UNAVAILABLE: the
     * value may have been updated or not, or somebody else has updated it at the same time. Try again; for a lock that was asked
     * for without a value, brokers that do not keep it say so each time.
     * </pre>
     */
    public void updateLock(io.github.lockbroker.v1.UpdateLockRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.UpdateLockResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateLockMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Tells who holds a lock and with which `value`, at once and whenever that changes: what another broker does, within 1.2 s, or 4 s if the store is slow. The
     * last state is repeated every 5 s; who hears nothing for three times that long knows nothing any more. What is told is what this broker has
     * seen last. Between two answers a lock may have been free, or held by others, and a value may have been another one. A lower
     * fencing token is never told after a higher one. The stream has no end of its own: UNAVAILABLE if the broker goes
     * away. A policy allows it to whoever may GetLock.
     * </pre>
     */
    public void observe(io.github.lockbroker.v1.ObserveRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ObserveResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getObserveMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Many locks on one stream. The client sends `open` first and then heartbeats, and begins and ends
     * locks as it likes. Half-closing or cancelling the stream releases everything on it. A stream that
     * falls silent loses its locks when the validity that its client was last told is over.
     * </pre>
     */
    public io.grpc.stub.StreamObserver<io.github.lockbroker.v1.SessionRequest> session(
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.SessionResponse> responseObserver) {
      return io.grpc.stub.ClientCalls.asyncBidiStreamingCall(
          getChannel().newCall(getSessionMethod(), getCallOptions()), responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service LockService.
   * <pre>
   * Hands out named locks. Any broker of a deployment answers any call.
   * </pre>
   */
  public static final class LockServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<LockServiceBlockingV2Stub> {
    private LockServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LockServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LockServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Tries once to take a lock. The first event is `acquired` or `not_acquired`. After `acquired` the
     * stream stays open for as long as the lock is wanted: cancelling it, or losing the connection,
     * releases the lock. Status: OK after `not_acquired` and `released`, ABORTED after `lost`,
     * INVALID_ARGUMENT, UNAVAILABLE (store away or in quarantine) or RESOURCE_EXHAUSTED otherwise.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.lockbroker.v1.AcquireResponse>
        acquire(io.github.lockbroker.v1.AcquireRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getAcquireMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Queues for a lock until it is granted or `max_wait` is over. The first event is `acquired`,
     * `not_acquired` or `queued`; `queued` is repeated every 5 s. Waits through a store that is away.
     * Everything else is as with Acquire.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.lockbroker.v1.WaitAcquireResponse>
        waitAcquire(io.github.lockbroker.v1.WaitAcquireRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getWaitAcquireMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Releases the grant that a lock id names, from any connection and at any broker. Idempotent. A
     * stale id, or that of another lock, changes nothing; the outcome says so with status OK.
     * </pre>
     */
    public io.github.lockbroker.v1.ReleaseResponse release(io.github.lockbroker.v1.ReleaseRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getReleaseMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Takes a lock for a client that can hold no stream: a cron job, a web page, a function. The lock
     * stands for its ttl. RenewLease prolongs it, Release ends it, and so does the end of the ttl. The
     * answer comes when the lock is acquired, or when `max_wait` is over. A call that is cancelled before
     * it is answered leaves no lock behind. If the answer is lost on its way, the lock stands for its ttl;
     * with a `request_id` the call can be repeated, and is answered with the same lease.
     * </pre>
     */
    public io.github.lockbroker.v1.AcquireLeaseResponse acquireLease(io.github.lockbroker.v1.AcquireLeaseRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getAcquireLeaseMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Renews a lease for its ttl, at any broker. Only leases have this: a stream renews its own locks. An
     * error says nothing about the lease: try again, for as long as it is valid.
     * </pre>
     */
    public io.github.lockbroker.v1.RenewLeaseResponse renewLease(io.github.lockbroker.v1.RenewLeaseRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRenewLeaseMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Looks at a lock without touching it.
     * </pre>
     */
    public io.github.lockbroker.v1.GetLockResponse getLock(io.github.lockbroker.v1.GetLockRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetLockMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Gives the grant that a lock id names another `value`, from any connection and at any broker. The lock must have been asked for with
     * one. A stale id, or that of another lock, changes nothing; the outcome says so with status OK. UNAVAILABLE: the
     * value may have been updated or not, or somebody else has updated it at the same time. Try again; for a lock that was asked
     * for without a value, brokers that do not keep it say so each time.
     * </pre>
     */
    public io.github.lockbroker.v1.UpdateLockResponse updateLock(io.github.lockbroker.v1.UpdateLockRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateLockMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells who holds a lock and with which `value`, at once and whenever that changes: what another broker does, within 1.2 s, or 4 s if the store is slow. The
     * last state is repeated every 5 s; who hears nothing for three times that long knows nothing any more. What is told is what this broker has
     * seen last. Between two answers a lock may have been free, or held by others, and a value may have been another one. A lower
     * fencing token is never told after a higher one. The stream has no end of its own: UNAVAILABLE if the broker goes
     * away. A policy allows it to whoever may GetLock.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.lockbroker.v1.ObserveResponse>
        observe(io.github.lockbroker.v1.ObserveRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getObserveMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Many locks on one stream. The client sends `open` first and then heartbeats, and begins and ends
     * locks as it likes. Half-closing or cancelling the stream releases everything on it. A stream that
     * falls silent loses its locks when the validity that its client was last told is over.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<io.github.lockbroker.v1.SessionRequest, io.github.lockbroker.v1.SessionResponse>
        session() {
      return io.grpc.stub.ClientCalls.blockingBidiStreamingCall(
          getChannel(), getSessionMethod(), getCallOptions());
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service LockService.
   * <pre>
   * Hands out named locks. Any broker of a deployment answers any call.
   * </pre>
   */
  public static final class LockServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<LockServiceBlockingStub> {
    private LockServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LockServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LockServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Tries once to take a lock. The first event is `acquired` or `not_acquired`. After `acquired` the
     * stream stays open for as long as the lock is wanted: cancelling it, or losing the connection,
     * releases the lock. Status: OK after `not_acquired` and `released`, ABORTED after `lost`,
     * INVALID_ARGUMENT, UNAVAILABLE (store away or in quarantine) or RESOURCE_EXHAUSTED otherwise.
     * </pre>
     */
    public java.util.Iterator<io.github.lockbroker.v1.AcquireResponse> acquire(
        io.github.lockbroker.v1.AcquireRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getAcquireMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Queues for a lock until it is granted or `max_wait` is over. The first event is `acquired`,
     * `not_acquired` or `queued`; `queued` is repeated every 5 s. Waits through a store that is away.
     * Everything else is as with Acquire.
     * </pre>
     */
    public java.util.Iterator<io.github.lockbroker.v1.WaitAcquireResponse> waitAcquire(
        io.github.lockbroker.v1.WaitAcquireRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getWaitAcquireMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Releases the grant that a lock id names, from any connection and at any broker. Idempotent. A
     * stale id, or that of another lock, changes nothing; the outcome says so with status OK.
     * </pre>
     */
    public io.github.lockbroker.v1.ReleaseResponse release(io.github.lockbroker.v1.ReleaseRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getReleaseMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Takes a lock for a client that can hold no stream: a cron job, a web page, a function. The lock
     * stands for its ttl. RenewLease prolongs it, Release ends it, and so does the end of the ttl. The
     * answer comes when the lock is acquired, or when `max_wait` is over. A call that is cancelled before
     * it is answered leaves no lock behind. If the answer is lost on its way, the lock stands for its ttl;
     * with a `request_id` the call can be repeated, and is answered with the same lease.
     * </pre>
     */
    public io.github.lockbroker.v1.AcquireLeaseResponse acquireLease(io.github.lockbroker.v1.AcquireLeaseRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getAcquireLeaseMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Renews a lease for its ttl, at any broker. Only leases have this: a stream renews its own locks. An
     * error says nothing about the lease: try again, for as long as it is valid.
     * </pre>
     */
    public io.github.lockbroker.v1.RenewLeaseResponse renewLease(io.github.lockbroker.v1.RenewLeaseRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRenewLeaseMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Looks at a lock without touching it.
     * </pre>
     */
    public io.github.lockbroker.v1.GetLockResponse getLock(io.github.lockbroker.v1.GetLockRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetLockMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Gives the grant that a lock id names another `value`, from any connection and at any broker. The lock must have been asked for with
     * one. A stale id, or that of another lock, changes nothing; the outcome says so with status OK. UNAVAILABLE: the
     * value may have been updated or not, or somebody else has updated it at the same time. Try again; for a lock that was asked
     * for without a value, brokers that do not keep it say so each time.
     * </pre>
     */
    public io.github.lockbroker.v1.UpdateLockResponse updateLock(io.github.lockbroker.v1.UpdateLockRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateLockMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells who holds a lock and with which `value`, at once and whenever that changes: what another broker does, within 1.2 s, or 4 s if the store is slow. The
     * last state is repeated every 5 s; who hears nothing for three times that long knows nothing any more. What is told is what this broker has
     * seen last. Between two answers a lock may have been free, or held by others, and a value may have been another one. A lower
     * fencing token is never told after a higher one. The stream has no end of its own: UNAVAILABLE if the broker goes
     * away. A policy allows it to whoever may GetLock.
     * </pre>
     */
    public java.util.Iterator<io.github.lockbroker.v1.ObserveResponse> observe(
        io.github.lockbroker.v1.ObserveRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getObserveMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service LockService.
   * <pre>
   * Hands out named locks. Any broker of a deployment answers any call.
   * </pre>
   */
  public static final class LockServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<LockServiceFutureStub> {
    private LockServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LockServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LockServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Releases the grant that a lock id names, from any connection and at any broker. Idempotent. A
     * stale id, or that of another lock, changes nothing; the outcome says so with status OK.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.lockbroker.v1.ReleaseResponse> release(
        io.github.lockbroker.v1.ReleaseRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getReleaseMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Takes a lock for a client that can hold no stream: a cron job, a web page, a function. The lock
     * stands for its ttl. RenewLease prolongs it, Release ends it, and so does the end of the ttl. The
     * answer comes when the lock is acquired, or when `max_wait` is over. A call that is cancelled before
     * it is answered leaves no lock behind. If the answer is lost on its way, the lock stands for its ttl;
     * with a `request_id` the call can be repeated, and is answered with the same lease.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.lockbroker.v1.AcquireLeaseResponse> acquireLease(
        io.github.lockbroker.v1.AcquireLeaseRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getAcquireLeaseMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Renews a lease for its ttl, at any broker. Only leases have this: a stream renews its own locks. An
     * error says nothing about the lease: try again, for as long as it is valid.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.lockbroker.v1.RenewLeaseResponse> renewLease(
        io.github.lockbroker.v1.RenewLeaseRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRenewLeaseMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Looks at a lock without touching it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.lockbroker.v1.GetLockResponse> getLock(
        io.github.lockbroker.v1.GetLockRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetLockMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Gives the grant that a lock id names another `value`, from any connection and at any broker. The lock must have been asked for with
     * one. A stale id, or that of another lock, changes nothing; the outcome says so with status OK. UNAVAILABLE: the
     * value may have been updated or not, or somebody else has updated it at the same time. Try again; for a lock that was asked
     * for without a value, brokers that do not keep it say so each time.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.lockbroker.v1.UpdateLockResponse> updateLock(
        io.github.lockbroker.v1.UpdateLockRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateLockMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_ACQUIRE = 0;
  private static final int METHODID_WAIT_ACQUIRE = 1;
  private static final int METHODID_RELEASE = 2;
  private static final int METHODID_ACQUIRE_LEASE = 3;
  private static final int METHODID_RENEW_LEASE = 4;
  private static final int METHODID_GET_LOCK = 5;
  private static final int METHODID_UPDATE_LOCK = 6;
  private static final int METHODID_OBSERVE = 7;
  private static final int METHODID_SESSION = 8;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_ACQUIRE:
          serviceImpl.acquire((io.github.lockbroker.v1.AcquireRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.AcquireResponse>) responseObserver);
          break;
        case METHODID_WAIT_ACQUIRE:
          serviceImpl.waitAcquire((io.github.lockbroker.v1.WaitAcquireRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.WaitAcquireResponse>) responseObserver);
          break;
        case METHODID_RELEASE:
          serviceImpl.release((io.github.lockbroker.v1.ReleaseRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ReleaseResponse>) responseObserver);
          break;
        case METHODID_ACQUIRE_LEASE:
          serviceImpl.acquireLease((io.github.lockbroker.v1.AcquireLeaseRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.AcquireLeaseResponse>) responseObserver);
          break;
        case METHODID_RENEW_LEASE:
          serviceImpl.renewLease((io.github.lockbroker.v1.RenewLeaseRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.RenewLeaseResponse>) responseObserver);
          break;
        case METHODID_GET_LOCK:
          serviceImpl.getLock((io.github.lockbroker.v1.GetLockRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.GetLockResponse>) responseObserver);
          break;
        case METHODID_UPDATE_LOCK:
          serviceImpl.updateLock((io.github.lockbroker.v1.UpdateLockRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.UpdateLockResponse>) responseObserver);
          break;
        case METHODID_OBSERVE:
          serviceImpl.observe((io.github.lockbroker.v1.ObserveRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ObserveResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_SESSION:
          return (io.grpc.stub.StreamObserver<Req>) serviceImpl.session(
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.SessionResponse>) responseObserver);
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getAcquireMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.lockbroker.v1.AcquireRequest,
              io.github.lockbroker.v1.AcquireResponse>(
                service, METHODID_ACQUIRE)))
        .addMethod(
          getWaitAcquireMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.lockbroker.v1.WaitAcquireRequest,
              io.github.lockbroker.v1.WaitAcquireResponse>(
                service, METHODID_WAIT_ACQUIRE)))
        .addMethod(
          getReleaseMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.lockbroker.v1.ReleaseRequest,
              io.github.lockbroker.v1.ReleaseResponse>(
                service, METHODID_RELEASE)))
        .addMethod(
          getAcquireLeaseMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.lockbroker.v1.AcquireLeaseRequest,
              io.github.lockbroker.v1.AcquireLeaseResponse>(
                service, METHODID_ACQUIRE_LEASE)))
        .addMethod(
          getRenewLeaseMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.lockbroker.v1.RenewLeaseRequest,
              io.github.lockbroker.v1.RenewLeaseResponse>(
                service, METHODID_RENEW_LEASE)))
        .addMethod(
          getGetLockMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.lockbroker.v1.GetLockRequest,
              io.github.lockbroker.v1.GetLockResponse>(
                service, METHODID_GET_LOCK)))
        .addMethod(
          getUpdateLockMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.lockbroker.v1.UpdateLockRequest,
              io.github.lockbroker.v1.UpdateLockResponse>(
                service, METHODID_UPDATE_LOCK)))
        .addMethod(
          getObserveMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.lockbroker.v1.ObserveRequest,
              io.github.lockbroker.v1.ObserveResponse>(
                service, METHODID_OBSERVE)))
        .addMethod(
          getSessionMethod(),
          io.grpc.stub.ServerCalls.asyncBidiStreamingCall(
            new MethodHandlers<
              io.github.lockbroker.v1.SessionRequest,
              io.github.lockbroker.v1.SessionResponse>(
                service, METHODID_SESSION)))
        .build();
  }

  private static abstract class LockServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    LockServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.github.lockbroker.v1.LockbrokerProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("LockService");
    }
  }

  private static final class LockServiceFileDescriptorSupplier
      extends LockServiceBaseDescriptorSupplier {
    LockServiceFileDescriptorSupplier() {}
  }

  private static final class LockServiceMethodDescriptorSupplier
      extends LockServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    LockServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (LockServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new LockServiceFileDescriptorSupplier())
              .addMethod(getAcquireMethod())
              .addMethod(getWaitAcquireMethod())
              .addMethod(getReleaseMethod())
              .addMethod(getAcquireLeaseMethod())
              .addMethod(getRenewLeaseMethod())
              .addMethod(getGetLockMethod())
              .addMethod(getUpdateLockMethod())
              .addMethod(getObserveMethod())
              .addMethod(getSessionMethod())
              .build();
        }
      }
    }
    return result;
  }
}
