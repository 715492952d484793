package io.github.lockbroker.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
 * it by verbs of its own: `list` and `revoke`.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class LockAdminGrpc {

  private LockAdminGrpc() {}

  public static final java.lang.String SERVICE_NAME = "lockbroker.v1.LockAdmin";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.ListLocksRequest,
      io.github.lockbroker.v1.ListLocksResponse> getListLocksMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListLocks",
      requestType = io.github.lockbroker.v1.ListLocksRequest.class,
      responseType = io.github.lockbroker.v1.ListLocksResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.ListLocksRequest,
      io.github.lockbroker.v1.ListLocksResponse> getListLocksMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.ListLocksRequest, io.github.lockbroker.v1.ListLocksResponse> getListLocksMethod;
    if ((getListLocksMethod = LockAdminGrpc.getListLocksMethod) == null) {
      synchronized (LockAdminGrpc.class) {
        if ((getListLocksMethod = LockAdminGrpc.getListLocksMethod) == null) {
          LockAdminGrpc.getListLocksMethod = getListLocksMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.ListLocksRequest, io.github.lockbroker.v1.ListLocksResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListLocks"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.ListLocksRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.ListLocksResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockAdminMethodDescriptorSupplier("ListLocks"))
              .build();
        }
      }
    }
    return getListLocksMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.ListWaitersRequest,
      io.github.lockbroker.v1.ListWaitersResponse> getListWaitersMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListWaiters",
      requestType = io.github.lockbroker.v1.ListWaitersRequest.class,
      responseType = io.github.lockbroker.v1.ListWaitersResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.ListWaitersRequest,
      io.github.lockbroker.v1.ListWaitersResponse> getListWaitersMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.ListWaitersRequest, io.github.lockbroker.v1.ListWaitersResponse> getListWaitersMethod;
    if ((getListWaitersMethod = LockAdminGrpc.getListWaitersMethod) == null) {
      synchronized (LockAdminGrpc.class) {
        if ((getListWaitersMethod = LockAdminGrpc.getListWaitersMethod) == null) {
          LockAdminGrpc.getListWaitersMethod = getListWaitersMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.ListWaitersRequest, io.github.lockbroker.v1.ListWaitersResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListWaiters"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.ListWaitersRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.ListWaitersResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockAdminMethodDescriptorSupplier("ListWaiters"))
              .build();
        }
      }
    }
    return getListWaitersMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.lockbroker.v1.RevokeLockRequest,
      io.github.lockbroker.v1.RevokeLockResponse> getRevokeLockMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RevokeLock",
      requestType = io.github.lockbroker.v1.RevokeLockRequest.class,
      responseType = io.github.lockbroker.v1.RevokeLockResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.lockbroker.v1.RevokeLockRequest,
      io.github.lockbroker.v1.RevokeLockResponse> getRevokeLockMethod() {
    io.grpc.MethodDescriptor<io.github.lockbroker.v1.RevokeLockRequest, io.github.lockbroker.v1.RevokeLockResponse> getRevokeLockMethod;
    if ((getRevokeLockMethod = LockAdminGrpc.getRevokeLockMethod) == null) {
      synchronized (LockAdminGrpc.class) {
        if ((getRevokeLockMethod = LockAdminGrpc.getRevokeLockMethod) == null) {
          LockAdminGrpc.getRevokeLockMethod = getRevokeLockMethod =
              io.grpc.MethodDescriptor.<io.github.lockbroker.v1.RevokeLockRequest, io.github.lockbroker.v1.RevokeLockResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RevokeLock"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.RevokeLockRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.lockbroker.v1.RevokeLockResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LockAdminMethodDescriptorSupplier("RevokeLock"))
              .build();
        }
      }
    }
    return getRevokeLockMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static LockAdminStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LockAdminStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LockAdminStub>() {
        @java.lang.Override
        public LockAdminStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LockAdminStub(channel, callOptions);
        }
      };
    return LockAdminStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static LockAdminBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LockAdminBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LockAdminBlockingV2Stub>() {
        @java.lang.Override
        public LockAdminBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LockAdminBlockingV2Stub(channel, callOptions);
        }
      };
    return LockAdminBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static LockAdminBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LockAdminBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LockAdminBlockingStub>() {
        @java.lang.Override
        public LockAdminBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LockAdminBlockingStub(channel, callOptions);
        }
      };
    return LockAdminBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static LockAdminFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LockAdminFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LockAdminFutureStub>() {
        @java.lang.Override
        public LockAdminFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LockAdminFutureStub(channel, callOptions);
        }
      };
    return LockAdminFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
   * it by verbs of its own: `list` and `revoke`.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Lists the locks of the whole store, whichever broker granted them, also if that broker has died. The
     * answers together are one list, in the order of the names' bytes. A lock that is acquired, released or
     * moved meanwhile may be missing.
     * </pre>
     */
    default void listLocks(io.github.lockbroker.v1.ListLocksRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ListLocksResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListLocksMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists who waits for locks at the broker that is asked. Every broker has waiters of its own.
     * </pre>
     */
    default void listWaiters(io.github.lockbroker.v1.ListWaitersRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ListWaitersResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListWaitersMethod(), responseObserver);
    }

    /**
     * <pre>
     * Takes a lock from its holder. The holder is told `lost` (REVOKED). Nobody else can acquire the lock
     * until the holder can no longer believe that it has it, and its linger is over: `free_within`, at most
     * --max-ttl and the linger together, or what is left of its `min_hold`, if that is longer. `immediate` frees the lock at once,
     * also one that was revoked before.
     * </pre>
     */
    default void revokeLock(io.github.lockbroker.v1.RevokeLockRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.RevokeLockResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRevokeLockMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service LockAdmin.
   * <pre>
   * Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
   * it by verbs of its own: `list` and `revoke`.
   * </pre>
   */
  public static abstract class LockAdminImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return LockAdminGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service LockAdmin.
   * <pre>
   * Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
   * it by verbs of its own: `list` and `revoke`.
   * </pre>
   */
  public static final class LockAdminStub
      extends io.grpc.stub.AbstractAsyncStub<LockAdminStub> {
    private LockAdminStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LockAdminStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LockAdminStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the locks of the whole store, whichever broker granted them, also if that broker has died. The
     * answers together are one list, in the order of the names' bytes. A lock that is acquired, released or
     * moved meanwhile may be missing.
     * </pre>
     */
    public void listLocks(io.github.lockbroker.v1.ListLocksRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ListLocksResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getListLocksMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists who waits for locks at the broker that is asked. Every broker has waiters of its own.
     * </pre>
     */
    public void listWaiters(io.github.lockbroker.v1.ListWaitersRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ListWaitersResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getListWaitersMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Takes a lock from its holder. The holder is told `lost` (REVOKED). Nobody else can acquire the lock
     * until the holder can no longer believe that it has it, and its linger is over: `free_within`, at most
     * --max-ttl and the linger together, or what is left of its `min_hold`, if that is longer. `immediate` frees the lock at once,
     * also one that was revoked before.
     * </pre>
     */
    public void revokeLock(io.github.lockbroker.v1.RevokeLockRequest request,
        io.grpc.stub.StreamObserver<io.github.lockbroker.v1.RevokeLockResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRevokeLockMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service LockAdmin.
   * <pre>
   * Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
   * it by verbs of its own: `list` and `revoke`.
   * </pre>
   */
  public static final class LockAdminBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<LockAdminBlockingV2Stub> {
    private LockAdminBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LockAdminBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LockAdminBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the locks of the whole store, whichever broker granted them, also if that broker has died. The
     * answers together are one list, in the order of the names' bytes. A lock that is acquired, released or
     * moved meanwhile may be missing.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.lockbroker.v1.ListLocksResponse>
        listLocks(io.github.lockbroker.v1.ListLocksRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getListLocksMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists who waits for locks at the broker that is asked. Every broker has waiters of its own.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.lockbroker.v1.ListWaitersResponse>
        listWaiters(io.github.lockbroker.v1.ListWaitersRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getListWaitersMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Takes a lock from its holder. The holder is told `lost` (REVOKED). Nobody else can acquire the lock
     * until the holder can no longer believe that it has it, and its linger is over: `free_within`, at most
     * --max-ttl and the linger together, or what is left of its `min_hold`, if that is longer. `immediate` frees the lock at once,
     * also one that was revoked before.
     * </pre>
     */
    public io.github.lockbroker.v1.RevokeLockResponse revokeLock(io.github.lockbroker.v1.RevokeLockRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRevokeLockMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service LockAdmin.
   * <pre>
   * Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
   * it by verbs of its own: `list` and `revoke`.
   * </pre>
   */
  public static final class LockAdminBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<LockAdminBlockingStub> {
    private LockAdminBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LockAdminBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LockAdminBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the locks of the whole store, whichever broker granted them, also if that broker has died. The
     * answers together are one list, in the order of the names' bytes. A lock that is acquired, released or
     * moved meanwhile may be missing.
     * </pre>
     */
    public java.util.Iterator<io.github.lockbroker.v1.ListLocksResponse> listLocks(
        io.github.lockbroker.v1.ListLocksRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getListLocksMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists who waits for locks at the broker that is asked. Every broker has waiters of its own.
     * </pre>
     */
    public java.util.Iterator<io.github.lockbroker.v1.ListWaitersResponse> listWaiters(
        io.github.lockbroker.v1.ListWaitersRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getListWaitersMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Takes a lock from its holder. The holder is told `lost` (REVOKED). Nobody else can acquire the lock
     * until the holder can no longer believe that it has it, and its linger is over: `free_within`, at most
     * --max-ttl and the linger together, or what is left of its `min_hold`, if that is longer. `immediate` frees the lock at once,
     * also one that was revoked before.
     * </pre>
     */
    public io.github.lockbroker.v1.RevokeLockResponse revokeLock(io.github.lockbroker.v1.RevokeLockRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRevokeLockMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service LockAdmin.
   * <pre>
   * Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
   * it by verbs of its own: `list` and `revoke`.
   * </pre>
   */
  public static final class LockAdminFutureStub
      extends io.grpc.stub.AbstractFutureStub<LockAdminFutureStub> {
    private LockAdminFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LockAdminFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LockAdminFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Takes a lock from its holder. The holder is told `lost` (REVOKED). Nobody else can acquire the lock
     * until the holder can no longer believe that it has it, and its linger is over: `free_within`, at most
     * --max-ttl and the linger together, or what is left of its `min_hold`, if that is longer. `immediate` frees the lock at once,
     * also one that was revoked before.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.lockbroker.v1.RevokeLockResponse> revokeLock(
        io.github.lockbroker.v1.RevokeLockRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRevokeLockMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_LIST_LOCKS = 0;
  private static final int METHODID_LIST_WAITERS = 1;
  private static final int METHODID_REVOKE_LOCK = 2;

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
        case METHODID_LIST_LOCKS:
          serviceImpl.listLocks((io.github.lockbroker.v1.ListLocksRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ListLocksResponse>) responseObserver);
          break;
        case METHODID_LIST_WAITERS:
          serviceImpl.listWaiters((io.github.lockbroker.v1.ListWaitersRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.ListWaitersResponse>) responseObserver);
          break;
        case METHODID_REVOKE_LOCK:
          serviceImpl.revokeLock((io.github.lockbroker.v1.RevokeLockRequest) request,
              (io.grpc.stub.StreamObserver<io.github.lockbroker.v1.RevokeLockResponse>) responseObserver);
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
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getListLocksMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.lockbroker.v1.ListLocksRequest,
              io.github.lockbroker.v1.ListLocksResponse>(
                service, METHODID_LIST_LOCKS)))
        .addMethod(
          getListWaitersMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.lockbroker.v1.ListWaitersRequest,
              io.github.lockbroker.v1.ListWaitersResponse>(
                service, METHODID_LIST_WAITERS)))
        .addMethod(
          getRevokeLockMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.lockbroker.v1.RevokeLockRequest,
              io.github.lockbroker.v1.RevokeLockResponse>(
                service, METHODID_REVOKE_LOCK)))
        .build();
  }

  private static abstract class LockAdminBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    LockAdminBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.github.lockbroker.v1.LockbrokerProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("LockAdmin");
    }
  }

  private static final class LockAdminFileDescriptorSupplier
      extends LockAdminBaseDescriptorSupplier {
    LockAdminFileDescriptorSupplier() {}
  }

  private static final class LockAdminMethodDescriptorSupplier
      extends LockAdminBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    LockAdminMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (LockAdminGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new LockAdminFileDescriptorSupplier())
              .addMethod(getListLocksMethod())
              .addMethod(getListWaitersMethod())
              .addMethod(getRevokeLockMethod())
              .build();
        }
      }
    }
    return result;
  }
}
