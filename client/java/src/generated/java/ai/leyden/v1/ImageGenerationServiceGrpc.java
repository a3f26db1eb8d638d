package ai.leyden.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Turns prompts into images and reports every denoise step on the way.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class ImageGenerationServiceGrpc {

  private ImageGenerationServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "leyden.v1.ImageGenerationService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<ai.leyden.v1.GenerateImageRequest,
      ai.leyden.v1.GenerateImageResponse> getGenerateImageMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GenerateImage",
      requestType = ai.leyden.v1.GenerateImageRequest.class,
      responseType = ai.leyden.v1.GenerateImageResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<ai.leyden.v1.GenerateImageRequest,
      ai.leyden.v1.GenerateImageResponse> getGenerateImageMethod() {
    io.grpc.MethodDescriptor<ai.leyden.v1.GenerateImageRequest, ai.leyden.v1.GenerateImageResponse> getGenerateImageMethod;
    if ((getGenerateImageMethod = ImageGenerationServiceGrpc.getGenerateImageMethod) == null) {
      synchronized (ImageGenerationServiceGrpc.class) {
        if ((getGenerateImageMethod = ImageGenerationServiceGrpc.getGenerateImageMethod) == null) {
          ImageGenerationServiceGrpc.getGenerateImageMethod = getGenerateImageMethod =
              io.grpc.MethodDescriptor.<ai.leyden.v1.GenerateImageRequest, ai.leyden.v1.GenerateImageResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GenerateImage"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.GenerateImageRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.GenerateImageResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ImageGenerationServiceMethodDescriptorSupplier("GenerateImage"))
              .build();
        }
      }
    }
    return getGenerateImageMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.leyden.v1.WatchGenerationRequest,
      ai.leyden.v1.GenerateImageResponse> getWatchGenerationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "WatchGeneration",
      requestType = ai.leyden.v1.WatchGenerationRequest.class,
      responseType = ai.leyden.v1.GenerateImageResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<ai.leyden.v1.WatchGenerationRequest,
      ai.leyden.v1.GenerateImageResponse> getWatchGenerationMethod() {
    io.grpc.MethodDescriptor<ai.leyden.v1.WatchGenerationRequest, ai.leyden.v1.GenerateImageResponse> getWatchGenerationMethod;
    if ((getWatchGenerationMethod = ImageGenerationServiceGrpc.getWatchGenerationMethod) == null) {
      synchronized (ImageGenerationServiceGrpc.class) {
        if ((getWatchGenerationMethod = ImageGenerationServiceGrpc.getWatchGenerationMethod) == null) {
          ImageGenerationServiceGrpc.getWatchGenerationMethod = getWatchGenerationMethod =
              io.grpc.MethodDescriptor.<ai.leyden.v1.WatchGenerationRequest, ai.leyden.v1.GenerateImageResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "WatchGeneration"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.WatchGenerationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.GenerateImageResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ImageGenerationServiceMethodDescriptorSupplier("WatchGeneration"))
              .build();
        }
      }
    }
    return getWatchGenerationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.leyden.v1.CancelGenerationRequest,
      ai.leyden.v1.CancelGenerationResponse> getCancelGenerationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CancelGeneration",
      requestType = ai.leyden.v1.CancelGenerationRequest.class,
      responseType = ai.leyden.v1.CancelGenerationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.leyden.v1.CancelGenerationRequest,
      ai.leyden.v1.CancelGenerationResponse> getCancelGenerationMethod() {
    io.grpc.MethodDescriptor<ai.leyden.v1.CancelGenerationRequest, ai.leyden.v1.CancelGenerationResponse> getCancelGenerationMethod;
    if ((getCancelGenerationMethod = ImageGenerationServiceGrpc.getCancelGenerationMethod) == null) {
      synchronized (ImageGenerationServiceGrpc.class) {
        if ((getCancelGenerationMethod = ImageGenerationServiceGrpc.getCancelGenerationMethod) == null) {
          ImageGenerationServiceGrpc.getCancelGenerationMethod = getCancelGenerationMethod =
              io.grpc.MethodDescriptor.<ai.leyden.v1.CancelGenerationRequest, ai.leyden.v1.CancelGenerationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CancelGeneration"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.CancelGenerationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.leyden.v1.CancelGenerationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ImageGenerationServiceMethodDescriptorSupplier("CancelGeneration"))
              .build();
        }
      }
    }
    return getCancelGenerationMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static ImageGenerationServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ImageGenerationServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ImageGenerationServiceStub>() {
        @java.lang.Override
        public ImageGenerationServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ImageGenerationServiceStub(channel, callOptions);
        }
      };
    return ImageGenerationServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static ImageGenerationServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ImageGenerationServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ImageGenerationServiceBlockingV2Stub>() {
        @java.lang.Override
        public ImageGenerationServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ImageGenerationServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return ImageGenerationServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static ImageGenerationServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ImageGenerationServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ImageGenerationServiceBlockingStub>() {
        @java.lang.Override
        public ImageGenerationServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ImageGenerationServiceBlockingStub(channel, callOptions);
        }
      };
    return ImageGenerationServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static ImageGenerationServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ImageGenerationServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ImageGenerationServiceFutureStub>() {
        @java.lang.Override
        public ImageGenerationServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ImageGenerationServiceFutureStub(channel, callOptions);
        }
      };
    return ImageGenerationServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Turns prompts into images and reports every denoise step on the way.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Generates one or more images from one prompt.
     * The reply is a stream of events; GenerateImageResponse says in which order.
     * A stream that succeeds ends with `summary` and status OK. A failure is a
     * status with google.rpc details (ErrorInfo always; BadRequest for a wrong
     * field, RetryInfo where a later try can succeed), never an event:
     *   INVALID_ARGUMENT     a field is wrong; BadRequest names it and what is allowed
     *   NOT_FOUND            no such model
     *   FAILED_PRECONDITION  the model is known but not loaded
     *   ALREADY_EXISTS       `request_id` belongs to another generation
     *   RESOURCE_EXHAUSTED   the queue is full, or the deadline would pass in it:
     *                        RetryInfo has the expected wait. READER_TOO_SLOW: the
     *                        client has stopped reading. OUT_OF_MEMORY: a smaller
     *                        size or fewer images are the remedy
     *   CANCELLED            CancelGeneration ended it: CANCELLED_BY_REQUEST
     *   DEADLINE_EXCEEDED    the client's deadline passed
     *   UNAVAILABLE          loading, draining, or a stage died; RetryInfo is set
     *   INTERNAL             a defect; ErrorInfo has the id under which it was logged
     * A client that cancels, disconnects or lets its deadline pass frees the
     * accelerator at the next denoise step, unless `linger_duration` says that the
     * generation is to go on for a while.
     * A request whose `request_id` is that of a generation that runs, or that ended
     * well and is kept, joins it where every other field is equal too: it is sent
     * all events from index 0, as WatchGeneration sends them.
     * </pre>
     */
    default void generateImage(ai.leyden.v1.GenerateImageRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.GenerateImageResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGenerateImageMethod(), responseObserver);
    }

    /**
     * <pre>
     * Watches a generation that was started by GenerateImage, at any Gateway of the
     * server: all events after a given index, then those that are to come.
     * An event that was sent before has the index and the bytes of its first
     * sending, its `preview` left out. The stream ends with the generation's own
     * status and details, or with:
     *   INVALID_ARGUMENT  `after_event_index` is below 0, or `request_id` is wrong
     *   NOT_FOUND         no such generation is known (any more): GENERATION_NOT_FOUND
     *   OUT_OF_RANGE      its events are no longer kept: EVENTS_EXPIRED
     * </pre>
     */
    default void watchGeneration(ai.leyden.v1.WatchGenerationRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.GenerateImageResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWatchGenerationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Ends a generation at once, at any Gateway of the server. Its rows are free at
     * the next denoise step, and its watchers end with CANCELLED and the reason
     * CANCELLED_BY_REQUEST. A generation that has ended and is kept stays as it is;
     * the answer is the same. NOT_FOUND: no such generation is known (any more).
     * </pre>
     */
    default void cancelGeneration(ai.leyden.v1.CancelGenerationRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.CancelGenerationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCancelGenerationMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service ImageGenerationService.
   * <pre>
   * Turns prompts into images and reports every denoise step on the way.
   * </pre>
   */
  public static abstract class ImageGenerationServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return ImageGenerationServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service ImageGenerationService.
   * <pre>
   * Turns prompts into images and reports every denoise step on the way.
   * </pre>
   */
  public static final class ImageGenerationServiceStub
      extends io.grpc.stub.AbstractAsyncStub<ImageGenerationServiceStub> {
    private ImageGenerationServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ImageGenerationServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ImageGenerationServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Generates one or more images from one prompt.
     * The reply is a stream of events; GenerateImageResponse says in which order.
     * A stream that succeeds ends with `summary` and status OK. A failure is a
     * status with google.rpc details (ErrorInfo always; BadRequest for a wrong
     * field, RetryInfo where a later try can succeed), never an event:
     *   INVALID_ARGUMENT     a field is wrong; BadRequest names it and what is allowed
     *   NOT_FOUND            no such model
     *   FAILED_PRECONDITION  the model is known but not loaded
     *   ALREADY_EXISTS       `request_id` belongs to another generation
     *   RESOURCE_EXHAUSTED   the queue is full, or the deadline would pass in it:
     *                        RetryInfo has the expected wait. READER_TOO_SLOW: the
     *                        client has stopped reading. OUT_OF_MEMORY: a smaller
     *                        size or fewer images are the remedy
     *   CANCELLED            CancelGeneration ended it: CANCELLED_BY_REQUEST
     *   DEADLINE_EXCEEDED    the client's deadline passed
     *   UNAVAILABLE          loading, draining, or a stage died; RetryInfo is set
     *   INTERNAL             a defect; ErrorInfo has the id under which it was logged
     * A client that cancels, disconnects or lets its deadline pass frees the
     * accelerator at the next denoise step, unless `linger_duration` says that the
     * generation is to go on for a while.
     * A request whose `request_id` is that of a generation that runs, or that ended
     * well and is kept, joins it where every other field is equal too: it is sent
     * all events from index 0, as WatchGeneration sends them.
     * </pre>
     */
    public void generateImage(ai.leyden.v1.GenerateImageRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.GenerateImageResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getGenerateImageMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Watches a generation that was started by GenerateImage, at any Gateway of the
     * server: all events after a given index, then those that are to come.
     * An event that was sent before has the index and the bytes of its first
     * sending, its `preview` left out. The stream ends with the generation's own
     * status and details, or with:
     *   INVALID_ARGUMENT  `after_event_index` is below 0, or `request_id` is wrong
     *   NOT_FOUND         no such generation is known (any more): GENERATION_NOT_FOUND
     *   OUT_OF_RANGE      its events are no longer kept: EVENTS_EXPIRED
     * </pre>
     */
    public void watchGeneration(ai.leyden.v1.WatchGenerationRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.GenerateImageResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getWatchGenerationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Ends a generation at once, at any Gateway of the server. Its rows are free at
     * the next denoise step, and its watchers end with CANCELLED and the reason
     * CANCELLED_BY_REQUEST. A generation that has ended and is kept stays as it is;
     * the answer is the same. NOT_FOUND: no such generation is known (any more).
     * </pre>
     */
    public void cancelGeneration(ai.leyden.v1.CancelGenerationRequest request,
        io.grpc.stub.StreamObserver<ai.leyden.v1.CancelGenerationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCancelGenerationMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service ImageGenerationService.
   * <pre>
   * Turns prompts into images and reports every denoise step on the way.
   * </pre>
   */
  public static final class ImageGenerationServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<ImageGenerationServiceBlockingV2Stub> {
    private ImageGenerationServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ImageGenerationServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ImageGenerationServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Generates one or more images from one prompt.
     * The reply is a stream of events; GenerateImageResponse says in which order.
     * A stream that succeeds ends with `summary` and status OK. A failure is a
     * status with google.rpc details (ErrorInfo always; BadRequest for a wrong
     * field, RetryInfo where a later try can succeed), never an event:
     *   INVALID_ARGUMENT     a field is wrong; BadRequest names it and what is allowed
     *   NOT_FOUND            no such model
     *   FAILED_PRECONDITION  the model is known but not loaded
     *   ALREADY_EXISTS       `request_id` belongs to another generation
     *   RESOURCE_EXHAUSTED   the queue is full, or the deadline would pass in it:
     *                        RetryInfo has the expected wait. READER_TOO_SLOW: the
     *                        client has stopped reading. OUT_OF_MEMORY: a smaller
     *                        size or fewer images are the remedy
     *   CANCELLED            CancelGeneration ended it: CANCELLED_BY_REQUEST
     *   DEADLINE_EXCEEDED    the client's deadline passed
     *   UNAVAILABLE          loading, draining, or a stage died; RetryInfo is set
     *   INTERNAL             a defect; ErrorInfo has the id under which it was logged
     * A client that cancels, disconnects or lets its deadline pass frees the
     * accelerator at the next denoise step, unless `linger_duration` says that the
     * generation is to go on for a while.
     * A request whose `request_id` is that of a generation that runs, or that ended
     * well and is kept, joins it where every other field is equal too: it is sent
     * all events from index 0, as WatchGeneration sends them.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, ai.leyden.v1.GenerateImageResponse>
        generateImage(ai.leyden.v1.GenerateImageRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getGenerateImageMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Watches a generation that was started by GenerateImage, at any Gateway of the
     * server: all events after a given index, then those that are to come.
     * An event that was sent before has the index and the bytes of its first
     * sending, its `preview` left out. The stream ends with the generation's own
     * status and details, or with:
     *   INVALID_ARGUMENT  `after_event_index` is below 0, or `request_id` is wrong
     *   NOT_FOUND         no such generation is known (any more): GENERATION_NOT_FOUND
     *   OUT_OF_RANGE      its events are no longer kept: EVENTS_EXPIRED
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, ai.leyden.v1.GenerateImageResponse>
        watchGeneration(ai.leyden.v1.WatchGenerationRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getWatchGenerationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a generation at once, at any Gateway of the server. Its rows are free at
     * the next denoise step, and its watchers end with CANCELLED and the reason
     * CANCELLED_BY_REQUEST. A generation that has ended and is kept stays as it is;
     * the answer is the same. NOT_FOUND: no such generation is known (any more).
     * </pre>
     */
    public ai.leyden.v1.CancelGenerationResponse cancelGeneration(ai.leyden.v1.CancelGenerationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCancelGenerationMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service ImageGenerationService.
   * <pre>
   * Turns prompts into images and reports every denoise step on the way.
   * </pre>
   */
  public static final class ImageGenerationServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<ImageGenerationServiceBlockingStub> {
    private ImageGenerationServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ImageGenerationServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ImageGenerationServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Generates one or more images from one prompt.
     * The reply is a stream of events; GenerateImageResponse says in which order.
     * A stream that succeeds ends with `summary` and status OK. A failure is a
     * status with google.rpc details (ErrorInfo always; BadRequest for a wrong
     * field, RetryInfo where a later try can succeed), never an event:
     *   INVALID_ARGUMENT     a field is wrong; BadRequest names it and what is allowed
     *   NOT_FOUND            no such model
     *   FAILED_PRECONDITION  the model is known but not loaded
     *   ALREADY_EXISTS       `request_id` belongs to another generation
     *   RESOURCE_EXHAUSTED   the queue is full, or the deadline would pass in it:
     *                        RetryInfo has the expected wait. READER_TOO_SLOW: the
     *                        client has stopped reading. OUT_OF_MEMORY: a smaller
     *                        size or fewer images are the remedy
     *   CANCELLED            CancelGeneration ended it: CANCELLED_BY_REQUEST
     *   DEADLINE_EXCEEDED    the client's deadline passed
     *   UNAVAILABLE          loading, draining, or a stage died; RetryInfo is set
     *   INTERNAL             a defect; ErrorInfo has the id under which it was logged
     * A client that cancels, disconnects or lets its deadline pass frees the
     * accelerator at the next denoise step, unless `linger_duration` says that the
     * generation is to go on for a while.
     * A request whose `request_id` is that of a generation that runs, or that ended
     * well and is kept, joins it where every other field is equal too: it is sent
     * all events from index 0, as WatchGeneration sends them.
     * </pre>
     */
    public java.util.Iterator<ai.leyden.v1.GenerateImageResponse> generateImage(
        ai.leyden.v1.GenerateImageRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getGenerateImageMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Watches a generation that was started by GenerateImage, at any Gateway of the
     * server: all events after a given index, then those that are to come.
     * An event that was sent before has the index and the bytes of its first
     * sending, its `preview` left out. The stream ends with the generation's own
     * status and details, or with:
     *   INVALID_ARGUMENT  `after_event_index` is below 0, or `request_id` is wrong
     *   NOT_FOUND         no such generation is known (any more): GENERATION_NOT_FOUND
     *   OUT_OF_RANGE      its events are no longer kept: EVENTS_EXPIRED
     * </pre>
     */
    public java.util.Iterator<ai.leyden.v1.GenerateImageResponse> watchGeneration(
        ai.leyden.v1.WatchGenerationRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getWatchGenerationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a generation at once, at any Gateway of the server. Its rows are free at
     * the next denoise step, and its watchers end with CANCELLED and the reason
     * CANCELLED_BY_REQUEST. A generation that has ended and is kept stays as it is;
     * the answer is the same. NOT_FOUND: no such generation is known (any more).
     * </pre>
     */
    public ai.leyden.v1.CancelGenerationResponse cancelGeneration(ai.leyden.v1.CancelGenerationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCancelGenerationMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service ImageGenerationService.
   * <pre>
   * Turns prompts into images and reports every denoise step on the way.
   * </pre>
   */
  public static final class ImageGenerationServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<ImageGenerationServiceFutureStub> {
    private ImageGenerationServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ImageGenerationServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ImageGenerationServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Ends a generation at once, at any Gateway of the server. Its rows are free at
     * the next denoise step, and its watchers end with CANCELLED and the reason
     * CANCELLED_BY_REQUEST. A generation that has ended and is kept stays as it is;
     * the answer is the same. NOT_FOUND: no such generation is known (any more).
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.leyden.v1.CancelGenerationResponse> cancelGeneration(
        ai.leyden.v1.CancelGenerationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCancelGenerationMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_GENERATE_IMAGE = 0;
  private static final int METHODID_WATCH_GENERATION = 1;
  private static final int METHODID_CANCEL_GENERATION = 2;

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
        case METHODID_GENERATE_IMAGE:
          serviceImpl.generateImage((ai.leyden.v1.GenerateImageRequest) request,
              (io.grpc.stub.StreamObserver<ai.leyden.v1.GenerateImageResponse>) responseObserver);
          break;
        case METHODID_WATCH_GENERATION:
          serviceImpl.watchGeneration((ai.leyden.v1.WatchGenerationRequest) request,
              (io.grpc.stub.StreamObserver<ai.leyden.v1.GenerateImageResponse>) responseObserver);
          break;
        case METHODID_CANCEL_GENERATION:
          serviceImpl.cancelGeneration((ai.leyden.v1.CancelGenerationRequest) request,
              (io.grpc.stub.StreamObserver<ai.leyden.v1.CancelGenerationResponse>) responseObserver);
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
          getGenerateImageMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              ai.leyden.v1.GenerateImageRequest,
              ai.leyden.v1.GenerateImageResponse>(
                service, METHODID_GENERATE_IMAGE)))
        .addMethod(
          getWatchGenerationMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              ai.leyden.v1.WatchGenerationRequest,
              ai.leyden.v1.GenerateImageResponse>(
                service, METHODID_WATCH_GENERATION)))
        .addMethod(
          getCancelGenerationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.leyden.v1.CancelGenerationRequest,
              ai.leyden.v1.CancelGenerationResponse>(
                service, METHODID_CANCEL_GENERATION)))
        .build();
  }

  private static abstract class ImageGenerationServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    ImageGenerationServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return ai.leyden.v1.ImageGenerationServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("ImageGenerationService");
    }
  }

  private static final class ImageGenerationServiceFileDescriptorSupplier
      extends ImageGenerationServiceBaseDescriptorSupplier {
    ImageGenerationServiceFileDescriptorSupplier() {}
  }

  private static final class ImageGenerationServiceMethodDescriptorSupplier
      extends ImageGenerationServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    ImageGenerationServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (ImageGenerationServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new ImageGenerationServiceFileDescriptorSupplier())
              .addMethod(getGenerateImageMethod())
              .addMethod(getWatchGenerationMethod())
              .addMethod(getCancelGenerationMethod())
              .build();
        }
      }
    }
    return result;
  }
}
