package ai.leyden.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Says which models there are and what each accepts, and loads and unloads them while
 * the server runs.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class ModelServiceGrpc {

  private ModelServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "leyden.v1.ModelService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<ai.leyden.v1.ListModelsRequest,
      ai.leyden.v1.ListModelsResponse> getListModelsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListModels",
      requestType = ai.leyden.v1.ListModelsRequest.class,
      responseType = ai.leyden.v1.ListModelsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.leyden.v1.ListModelsRequest,
      ai.leyden.v1.ListModelsResponse> getListModelsMethod() {
    io.grpc.MethodDescriptor<ai.leyden.v1.ListModelsRequest, ai.leyden.v1.ListModelsResponse> getListModelsMethod;
    if ((getListModelsMethod = ModelServiceGrpc.getListModelsMethod) == null) {
      synchronized (ModelServiceGrpc.class) {
        if ((getListModelsMethod = ModelServiceGrpc.getListModelsMethod) == null) {
          ModelServiceGrpc.getListModelsMethod = getListModelsMethod =
              io.grpc.MethodDescriptor.<ai.leyden.v1.ListModelsRequest, ai.leyden.v1.ListModelsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListModels"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.ListModelsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.ListModelsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ModelServiceMethodDescriptorSupplier("ListModels"))
              .build();
        }
      }
    }
    return getListModelsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.leyden.v1.GetModelRequest,
      ai.leyden.v1.GetModelResponse> getGetModelMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetModel",
      requestType = ai.leyden.v1.GetModelRequest.class,
      responseType = ai.leyden.v1.GetModelResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.leyden.v1.GetModelRequest,
      ai.leyden.v1.GetModelResponse> getGetModelMethod() {
    io.grpc.MethodDescriptor<ai.leyden.v1.GetModelRequest, ai.leyden.v1.GetModelResponse> getGetModelMethod;
    if ((getGetModelMethod = ModelServiceGrpc.getGetModelMethod) == null) {
      synchronized (ModelServiceGrpc.class) {
        if ((getGetModelMethod = ModelServiceGrpc.getGetModelMethod) == null) {
          ModelServiceGrpc.getGetModelMethod = getGetModelMethod =
              io.grpc.MethodDescriptor.<ai.leyden.v1.GetModelRequest, ai.leyden.v1.GetModelResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetModel"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.GetModelRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.GetModelResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ModelServiceMethodDescriptorSupplier("GetModel"))
              .build();
        }
      }
    }
    return getGetModelMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.leyden.v1.LoadModelRequest,
      ai.leyden.v1.LoadModelResponse> getLoadModelMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "LoadModel",
      requestType = ai.leyden.v1.LoadModelRequest.class,
      responseType = ai.leyden.v1.LoadModelResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.leyden.v1.LoadModelRequest,
      ai.leyden.v1.LoadModelResponse> getLoadModelMethod() {
    io.grpc.MethodDescriptor<ai.leyden.v1.LoadModelRequest, ai.leyden.v1.LoadModelResponse> getLoadModelMethod;
    if ((getLoadModelMethod = ModelServiceGrpc.getLoadModelMethod) == null) {
      synchronized (ModelServiceGrpc.class) {
        if ((getLoadModelMethod = ModelServiceGrpc.getLoadModelMethod) == null) {
          ModelServiceGrpc.getLoadModelMethod = getLoadModelMethod =
              io.grpc.MethodDescriptor.<ai.leyden.v1.LoadModelRequest, ai.leyden.v1.LoadModelResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "LoadModel"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.LoadModelRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.LoadModelResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ModelServiceMethodDescriptorSupplier("LoadModel"))
              .build();
        }
      }
    }
    return getLoadModelMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.leyden.v1.UnloadModelRequest,
      ai.leyden.v1.UnloadModelResponse> getUnloadModelMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UnloadModel",
      requestType = ai.leyden.v1.UnloadModelRequest.class,
      responseType = ai.leyden.v1.UnloadModelResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.leyden.v1.UnloadModelRequest,
      ai.leyden.v1.UnloadModelResponse> getUnloadModelMethod() {
    io.grpc.MethodDescriptor<ai.leyden.v1.UnloadModelRequest, ai.leyden.v1.UnloadModelResponse> getUnloadModelMethod;
    if ((getUnloadModelMethod = ModelServiceGrpc.getUnloadModelMethod) == null) {
      synchronized (ModelServiceGrpc.class) {
        if ((getUnloadModelMethod = ModelServiceGrpc.getUnloadModelMethod) == null) {
          ModelServiceGrpc.getUnloadModelMethod = getUnloadModelMethod =
              io.grpc.MethodDescriptor.<ai.leyden.v1.UnloadModelRequest, ai.leyden.v1.UnloadModelResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UnloadModel"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.UnloadModelRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.UnloadModelResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ModelServiceMethodDescriptorSupplier("UnloadModel"))
              .build();
        }
      }
    }
    return getUnloadModelMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.leyden.v1.GetServerStateRequest,
      ai.leyden.v1.GetServerStateResponse> getGetServerStateMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetServerState",
      requestType = ai.leyden.v1.GetServerStateRequest.class,
      responseType = ai.leyden.v1.GetServerStateResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.leyden.v1.GetServerStateRequest,
      ai.leyden.v1.GetServerStateResponse> getGetServerStateMethod() {
    io.grpc.MethodDescriptor<ai.leyden.v1.GetServerStateRequest, ai.leyden.v1.GetServerStateResponse> getGetServerStateMethod;
    if ((getGetServerStateMethod = ModelServiceGrpc.getGetServerStateMethod) == null) {
      synchronized (ModelServiceGrpc.class) {
        if ((getGetServerStateMethod = ModelServiceGrpc.getGetServerStateMethod) == null) {
          ModelServiceGrpc.getGetServerStateMethod = getGetServerStateMethod =
              io.grpc.MethodDescriptor.<ai.leyden.v1.GetServerStateRequest, ai.leyden.v1.GetServerStateResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetServerState"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.GetServerStateRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.GetServerStateResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ModelServiceMethodDescriptorSupplier("GetServerState"))
              .build();
        }
      }
    }
    return getGetServerStateMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static ModelServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ModelServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ModelServiceStub>() {
        @java.lang.Override
        public ModelServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ModelServiceStub(channel, callOptions);
        }
      };
    return ModelServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static ModelServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ModelServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ModelServiceBlockingV2Stub>() {
        @java.lang.Override
        public ModelServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ModelServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return ModelServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static ModelServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ModelServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ModelServiceBlockingStub>() {
        @java.lang.Override
        public ModelServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ModelServiceBlockingStub(channel, callOptions);
        }
      };
    return ModelServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static ModelServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ModelServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ModelServiceFutureStub>() {
        @java.lang.Override
        public ModelServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ModelServiceFutureStub(channel, callOptions);
        }
      };
    return ModelServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Says which models there are and what each accepts, and loads and unloads them while
   * the server runs.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Lists the models of the repository, by name, the loaded and the others. The
     * list is not paged: a repository holds tens of models.
     * </pre>
     */
    default void listModels(ai.leyden.v1.ListModelsRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.ListModelsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListModelsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Describes one model. NOT_FOUND names the models that exist.
     * </pre>
     */
    default void getModel(ai.leyden.v1.GetModelRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.GetModelResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetModelMethod(), responseObserver);
    }

    /**
     * <pre>
     * Loads a model of the repository, which is looked at anew, beside those that are
     * loaded, and answers once it is MODEL_STATE_READY. A model that is ready and whose
     * files are unchanged is left alone. One whose files have changed is loaded anew
     * beside the old version, takes over, and the old version finishes what it was given.
     * Leaving the call does not stop the load; whoever asks for the same meanwhile joins
     * it. Nothing is remembered over a restart of the server, whose config says what it
     * loads. NOT_FOUND: the repository has no such model. FAILED_PRECONDITION: it cannot
     * be loaded (reason MODEL_LOAD_FAILED, with what and where; what was begun is taken
     * back), or others own what runs (MANAGED_BY_SERVE_CONFIG). RESOURCE_EXHAUSTED: no
     * replica of a stage can be placed (NO_RESOURCES). For operators.
     * </pre>
     */
    default void loadModel(ai.leyden.v1.LoadModelRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.LoadModelResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getLoadModelMethod(), responseObserver);
    }

    /**
     * <pre>
     * Unloads a model: refuses new requests at once, lets those that it has accepted
     * finish for as long as the server's drain lasts, ends what is left then as
     * UNAVAILABLE, and answers once the model's stages are gone. Text encoders and VAE
     * that models share go with the last of them. A model that is not loaded is OK.
     * The default model can be unloaded too: requests that name none are
     * FAILED_PRECONDITION then. Leaving the call does not stop it. NOT_FOUND: the
     * repository has no such model. FAILED_PRECONDITION: others own what runs (reason
     * MANAGED_BY_SERVE_CONFIG). For operators.
     * </pre>
     */
    default void unloadModel(ai.leyden.v1.UnloadModelRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.UnloadModelResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUnloadModelMethod(), responseObserver);
    }

    /**
     * <pre>
     * Says what the server does now: the stages of each loaded model, its Gateways, and
     * which stage holds up the others. Each replica is asked; one that does not answer
     * within two seconds is left out. For operators.
     * </pre>
     */
    default void getServerState(ai.leyden.v1.GetServerStateRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.GetServerStateResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetServerStateMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service ModelService.
   * <pre>
   * Says which models there are and what each accepts, and loads and unloads them while
   * the server runs.
   * </pre>
   */
  public static abstract class ModelServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return ModelServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service ModelService.
   * <pre>
   * Says which models there are and what each accepts, and loads and unloads them while
   * the server runs.
   * </pre>
   */
  public static final class ModelServiceStub
      extends io.grpc.stub.AbstractAsyncStub<ModelServiceStub> {
    private ModelServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ModelServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ModelServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the models of the repository, by name, the loaded and the others. The
     * list is not paged: a repository holds tens of models.
     * </pre>
     */
    public void listModels(ai.leyden.v1.ListModelsRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.ListModelsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListModelsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Describes one model. NOT_FOUND names the models that exist.
     * </pre>
     */
    public void getModel(ai.leyden.v1.GetModelRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.GetModelResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetModelMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Loads a model of the repository, which is looked at anew, beside those that are
     * loaded, and answers once it is MODEL_STATE_READY. A model that is ready and whose
     * files are unchanged is left alone. One whose files have changed is loaded anew
     * beside the old version, takes over, and the old version finishes what it was given.
     * Leaving the call does not stop the load; whoever asks for the same meanwhile joins
     * it. Nothing is remembered over a restart of the server, whose config says what it
     * loads. NOT_FOUND: the repository has no such model. FAILED_PRECONDITION: it cannot
     * be loaded (reason MODEL_LOAD_FAILED, with what and where; what was begun is taken
     * back), or others own what runs (MANAGED_BY_SERVE_CONFIG). RESOURCE_EXHAUSTED: no
     * replica of a stage can be placed (NO_RESOURCES). For operators.
     * </pre>
     */
    public void loadModel(ai.leyden.v1.LoadModelRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.LoadModelResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getLoadModelMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Unloads a model: refuses new requests at once, lets those that it has accepted
     * finish for as long as the server's drain lasts, ends what is left then as
     * UNAVAILABLE, and answers once the model's stages are gone. Text encoders and VAE
     * that models share go with the last of them. A model that is not loaded is OK.
     * The default model can be unloaded too: requests that name none are
     * FAILED_PRECONDITION then. Leaving the call does not stop it. NOT_FOUND: the
     * repository has no such model. FAILED_PRECONDITION: others own what runs (reason
     * MANAGED_BY_SERVE_CONFIG). For operators.
     * </pre>
     */
    public void unloadModel(ai.leyden.v1.UnloadModelRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.UnloadModelResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUnloadModelMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Says what the server does now: the stages of each loaded model, its Gateways, and
     * which stage holds up the others. Each replica is asked; one that does not answer
     * within two seconds is left out. For operators.
     * </pre>
     */
    public void getServerState(ai.leyden.v1.GetServerStateRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.GetServerStateResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetServerStateMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service ModelService.
   * <pre>
   * Says which models there are and what each accepts, and loads and unloads them while
   * the server runs.
   * </pre>
   */
  public static final class ModelServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<ModelServiceBlockingV2Stub> {
    private ModelServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ModelServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ModelServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the models of the repository, by name, the loaded and the others. The
     * list is not paged: a repository holds tens of models.
     * </pre>
     */
    public ai.leyden.v1.ListModelsResponse listModels(ai.leyden.v1.ListModelsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListModelsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Describes one model. NOT_FOUND names the models that exist.
     * </pre>
     */
    public ai.leyden.v1.GetModelResponse getModel(ai.leyden.v1.GetModelRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetModelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Loads a model of the repository, which is looked at anew, beside those that are
     * loaded, and answers once it is MODEL_STATE_READY. A model that is ready and whose
     * files are unchanged is left alone. One whose files have changed is loaded anew
     * beside the old version, takes over, and the old version finishes what it was given.
     * Leaving the call does not stop the load; whoever asks for the same meanwhile joins
     * it. Nothing is remembered over a restart of the server, whose config says what it
     * loads. NOT_FOUND: the repository has no such model. FAILED_PRECONDITION: it cannot
     * be loaded (reason MODEL_LOAD_FAILED, with what and where; what was begun is taken
     * back), or others own what runs (MANAGED_BY_SERVE_CONFIG). RESOURCE_EXHAUSTED: no
     * replica of a stage can be placed (NO_RESOURCES). For operators.
     * </pre>
     */
    public ai.leyden.v1.LoadModelResponse loadModel(ai.leyden.v1.LoadModelRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getLoadModelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Unloads a model: refuses new requests at once, lets those that it has accepted
     * finish for as long as the server's drain lasts, ends what is left then as
     * UNAVAILABLE, and answers once the model's stages are gone. Text encoders and VAE
     * that models share go with the last of them. A model that is not loaded is OK.
     * The default model can be unloaded too: requests that name none are
     * FAILED_PRECONDITION then. Leaving the call does not stop it. NOT_FOUND: the
     * repository has no such model. FAILED_PRECONDITION: others own what runs (reason
     * MANAGED_BY_SERVE_CONFIG). For operators.
     * </pre>
     */
    public ai.leyden.v1.UnloadModelResponse unloadModel(ai.leyden.v1.UnloadModelRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUnloadModelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Says what the server does now: the stages of each loaded model, its Gateways, and
     * which stage holds up the others. Each replica is asked; one that does not answer
     * within two seconds is left out. For operators.
     * </pre>
     */
    public ai.leyden.v1.GetServerStateResponse getServerState(ai.leyden.v1.GetServerStateRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetServerStateMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service ModelService.
   * <pre>
   * Says which models there are and what each accepts, and loads and unloads them while
   * the server runs.
   * </pre>
   */
  public static final class ModelServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<ModelServiceBlockingStub> {
    private ModelServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ModelServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ModelServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the models of the repository, by name, the loaded and the others. The
     * list is not paged: a repository holds tens of models.
     * </pre>
     */
    public ai.leyden.v1.ListModelsResponse listModels(ai.leyden.v1.ListModelsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListModelsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Describes one model. NOT_FOUND names the models that exist.
     * </pre>
     */
    public ai.leyden.v1.GetModelResponse getModel(ai.leyden.v1.GetModelRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetModelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Loads a model of the repository, which is looked at anew, beside those that are
     * loaded, and answers once it is MODEL_STATE_READY. A model that is ready and whose
     * files are unchanged is left alone. One whose files have changed is loaded anew
     * beside the old version, takes over, and the old version finishes what it was given.
     * Leaving the call does not stop the load; whoever asks for the same meanwhile joins
     * it. Nothing is remembered over a restart of the server, whose config says what it
     * loads. NOT_FOUND: the repository has no such model. FAILED_PRECONDITION: it cannot
     * be loaded (reason MODEL_LOAD_FAILED, with what and where; what was begun is taken
     * back), or others own what runs (MANAGED_BY_SERVE_CONFIG). RESOURCE_EXHAUSTED: no
     * replica of a stage can be placed (NO_RESOURCES). For operators.
     * </pre>
     */
    public ai.leyden.v1.LoadModelResponse loadModel(ai.leyden.v1.LoadModelRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getLoadModelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Unloads a model: refuses new requests at once, lets those that it has accepted
     * finish for as long as the server's drain lasts, ends what is left then as
     * UNAVAILABLE, and answers once the model's stages are gone. Text encoders and VAE
     * that models share go with the last of them. A model that is not loaded is OK.
     * The default model can be unloaded too: requests that name none are
     * FAILED_PRECONDITION then. Leaving the call does not stop it. NOT_FOUND: the
     * repository has no such model. FAILED_PRECONDITION: others own what runs (reason
     * MANAGED_BY_SERVE_CONFIG). For operators.
     * </pre>
     */
    public ai.leyden.v1.UnloadModelResponse unloadModel(ai.leyden.v1.UnloadModelRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUnloadModelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Says what the server does now: the stages of each loaded model, its Gateways, and
     * which stage holds up the others. Each replica is asked; one that does not answer
     * within two seconds is left out. For operators.
     * </pre>
     */
    public ai.leyden.v1.GetServerStateResponse getServerState(ai.leyden.v1.GetServerStateRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetServerStateMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service ModelService.
   * <pre>
   * Says which models there are and what each accepts, and loads and unloads them while
   * the server runs.
   * </pre>
   */
  public static final class ModelServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<ModelServiceFutureStub> {
    private ModelServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ModelServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ModelServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the models of the repository, by name, the loaded and the others. The
     * list is not paged: a repository holds tens of models.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.leyden.v1.ListModelsResponse> listModels(
        ai.leyden.v1.ListModelsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListModelsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Describes one model. NOT_FOUND names the models that exist.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.leyden.v1.GetModelResponse> getModel(
        ai.leyden.v1.GetModelRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetModelMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Loads a model of the repository, which is looked at anew, beside those that are
     * loaded, and answers once it is MODEL_STATE_READY. A model that is ready and whose
     * files are unchanged is left alone. One whose files have changed is loaded anew
     * beside the old version, takes over, and the old version finishes what it was given.
     * Leaving the call does not stop the load; whoever asks for the same meanwhile joins
     * it. Nothing is remembered over a restart of the server, whose config says what it
     * loads. NOT_FOUND: the repository has no such model. FAILED_PRECONDITION: it cannot
     * be loaded (reason MODEL_LOAD_FAILED, with what and where; what was begun is taken
     * back), or others own what runs (MANAGED_BY_SERVE_CONFIG). RESOURCE_EXHAUSTED: no
     * replica of a stage can be placed (NO_RESOURCES). For operators.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.leyden.v1.LoadModelResponse> loadModel(
        ai.leyden.v1.LoadModelRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getLoadModelMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Unloads a model: refuses new requests at once, lets those that it has accepted
     * finish for as long as the server's drain lasts, ends what is left then as
     * UNAVAILABLE, and answers once the model's stages are gone. Text encoders and VAE
     * that models share go with the last of them. A model that is not loaded is OK.
     * The default model can be unloaded too: requests that name none are
     * FAILED_PRECONDITION then. Leaving the call does not stop it. NOT_FOUND: the
     * repository has no such model. FAILED_PRECONDITION: others own what runs (reason
     * MANAGED_BY_SERVE_CONFIG). For operators.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.leyden.v1.UnloadModelResponse> unloadModel(
        ai.leyden.v1.UnloadModelRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUnloadModelMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Says what the server does now: the stages of each loaded model, its Gateways, and
     * which stage holds up the others. Each replica is asked; one that does not answer
     * within two seconds is left out. For operators.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.leyden.v1.GetServerStateResponse> getServerState(
        ai.leyden.v1.GetServerStateRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetServerStateMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_LIST_MODELS = 0;
  private static final int METHODID_GET_MODEL = 1;
  private static final int METHODID_LOAD_MODEL = 2;
  private static final int METHODID_UNLOAD_MODEL = 3;
  private static final int METHODID_GET_SERVER_STATE = 4;

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
        case METHODID_LIST_MODELS:
          serviceImpl.listModels((ai.leyden.v1.ListModelsRequest) request,
              (io.grpc.stub.StreamObserver<ai.leyden.v1.ListModelsResponse>) responseObserver);
          break;
        case METHODID_GET_MODEL:
          serviceImpl.getModel((ai.leyden.v1.GetModelRequest) request,
              (io.grpc.stub.StreamObserver<ai.leyden.v1.GetModelResponse>) responseObserver);
          break;
        case METHODID_LOAD_MODEL:
          serviceImpl.loadModel((ai.leyden.v1.LoadModelRequest) request,
              (io.grpc.stub.StreamObserver<ai.leyden.v1.LoadModelResponse>) responseObserver);
          break;
        case METHODID_UNLOAD_MODEL:
          serviceImpl.unloadModel((ai.leyden.v1.UnloadModelRequest) request,
              (io.grpc.stub.StreamObserver<ai.leyden.v1.UnloadModelResponse>) responseObserver);
          break;
        case METHODID_GET_SERVER_STATE:
          serviceImpl.getServerState((ai.leyden.v1.GetServerStateRequest) request,
              (io.grpc.stub.StreamObserver<ai.leyden.v1.GetServerStateResponse>) responseObserver);
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
          getListModelsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.leyden.v1.ListModelsRequest,
              ai.leyden.v1.ListModelsResponse>(
                service, METHODID_LIST_MODELS)))
        .addMethod(
          getGetModelMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.leyden.v1.GetModelRequest,
              ai.leyden.v1.GetModelResponse>(
                service, METHODID_GET_MODEL)))
        .addMethod(
          getLoadModelMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.leyden.v1.LoadModelRequest,
              ai.leyden.v1.LoadModelResponse>(
                service, METHODID_LOAD_MODEL)))
        .addMethod(
          getUnloadModelMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.leyden.v1.UnloadModelRequest,
              ai.leyden.v1.UnloadModelResponse>(
                service, METHODID_UNLOAD_MODEL)))
        .addMethod(
          getGetServerStateMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.leyden.v1.GetServerStateRequest,
              ai.leyden.v1.GetServerStateResponse>(
                service, METHODID_GET_SERVER_STATE)))
        .build();
  }

  private static abstract class ModelServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    ModelServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return ai.leyden.v1.ModelServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("ModelService");
    }
  }

  private static final class ModelServiceFileDescriptorSupplier
      extends ModelServiceBaseDescriptorSupplier {
    ModelServiceFileDescriptorSupplier() {}
  }

  private static final class ModelServiceMethodDescriptorSupplier
      extends ModelServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    ModelServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (ModelServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new ModelServiceFileDescriptorSupplier())
              .addMethod(getListModelsMethod())
              .addMethod(getGetModelMethod())
              .addMethod(getLoadModelMethod())
              .addMethod(getUnloadModelMethod())
              .addMethod(getGetServerStateMethod())
              .build();
        }
      }
    }
    return result;
  }
}
