// gRPC services from generated protobuf modules: a typed client and a server definition from one table of methods.

import * as grpc from '@grpc/grpc-js';

/** What a generated message class offers. */
export interface MessageType<Plain, Decoded> {
  encode(message: Plain): {finish(): Uint8Array};
  decode(bytes: Uint8Array): Decoded;
}

export type Shape = 'unary' | 'server-stream' | 'client-stream' | 'bidi';

export interface Method<S extends Shape, InPlain, In, OutPlain, Out> {
  readonly shape: S;
  readonly request: MessageType<InPlain, In>;
  readonly response: MessageType<OutPlain, Out>;
}

export function method<S extends Shape, InPlain, In, OutPlain, Out>(
  shape: S,
  request: MessageType<InPlain, In>,
  response: MessageType<OutPlain, Out>,
): Method<S, InPlain, In, OutPlain, Out> {
  return {shape, request, response};
}

// `never` and `unknown` are the bounds that every method satisfies: plain values are consumed, decoded ones produced.
type AnyMethod = Method<Shape, never, unknown, never, unknown>;
export type Methods = Readonly<Record<string, AnyMethod>>;

type ClientCall<M> =
  M extends Method<infer S, infer InPlain, infer _In, infer _OutPlain, infer Out>
    ? S extends 'unary' ? (request: InPlain, options?: grpc.CallOptions) => Promise<Out>
    : S extends 'server-stream' ? (request: InPlain, options?: grpc.CallOptions) => grpc.ClientReadableStream<Out>
    : S extends 'client-stream' ? (requests: readonly InPlain[], options?: grpc.CallOptions) => Promise<Out>
    : (options?: grpc.CallOptions) => grpc.ClientDuplexStream<InPlain | Buffer, Out>
    : never;

type ServerCall<M> =
  M extends Method<infer S, infer _InPlain, infer In, infer OutPlain, infer _Out>
    ? S extends 'unary' ? grpc.handleUnaryCall<In, OutPlain | Buffer>
    : S extends 'server-stream' ? grpc.handleServerStreamingCall<In, OutPlain | Buffer>
    : S extends 'client-stream' ? grpc.handleClientStreamingCall<In, OutPlain | Buffer>
    : grpc.handleBidiStreamingCall<In, OutPlain | Buffer>
    : never;

export type ServiceClient<T extends Methods> = {readonly [K in keyof T]: ClientCall<T[K]>} & {readonly channel: grpc.Client};
export type ServiceHandlers<T extends Methods> = {readonly [K in keyof T]: ServerCall<T[K]>};

export interface Service<T extends Methods> {
  /** Messages given as a Buffer are sent as they are: encode once, send to many. */
  connect(address: string, credentials: grpc.ChannelCredentials, options?: grpc.ChannelOptions, interceptors?: readonly grpc.Interceptor[]): ServiceClient<T>;
  addTo(server: grpc.Server, handlers: ServiceHandlers<T>): void;
}

/** `name` in full, as in `stentor.v1.NodeSessions`. */
export function defineService<T extends Methods>(name: string, methods: T): Service<T> {
  const definition = Object.fromEntries(Object.entries(methods).map(([key, m]) => [key, wireMethod(`/${name}/${key}`, m)]));
  return {
    connect(address, credentials, options = {}, interceptors = []) {
      const channel = new grpc.Client(address, credentials, {...options, interceptors: [...interceptors]});
      const calls = Object.entries(definition).map(([key, wire]) => [key, clientCall(channel, wire)]);
      return {...Object.fromEntries(calls), channel} as ServiceClient<T>;
    },
    addTo(server, handlers) {
      server.addService(definition, handlers as grpc.UntypedServiceImplementation);
    },
  };
}

type WireMethod = grpc.MethodDefinition<unknown, unknown>;

function wireMethod(path: string, m: AnyMethod): WireMethod {
  return {
    path,
    requestStream: m.shape === 'client-stream' || m.shape === 'bidi',
    responseStream: m.shape === 'server-stream' || m.shape === 'bidi',
    requestSerialize: (value) => encode(m.request, value),
    requestDeserialize: (bytes) => m.request.decode(bytes),
    responseSerialize: (value) => encode(m.response, value),
    responseDeserialize: (bytes) => m.response.decode(bytes),
  };
}

function encode(type: MessageType<never, unknown>, value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  const bytes = type.encode(value as never).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function clientCall(channel: grpc.Client, wire: WireMethod): unknown {
  const {path, requestSerialize: write, responseDeserialize: read} = wire;
  const none = new grpc.Metadata();
  if (wire.requestStream && wire.responseStream) {
    return (options: grpc.CallOptions = {}) => channel.makeBidiStreamRequest(path, write, read, none, options);
  }
  if (wire.responseStream) {
    return (request: unknown, options: grpc.CallOptions = {}) => channel.makeServerStreamRequest(path, write, read, request, none, options);
  }
  if (wire.requestStream) {
    return (requests: readonly unknown[], options: grpc.CallOptions = {}) => new Promise((resolve, reject) => {
      const call = channel.makeClientStreamRequest(path, write, read, none, options, (error, value) => (error === null ? resolve(value) : reject(error)));
      for (const request of requests) call.write(request);
      call.end();
    });
  }
  return (request: unknown, options: grpc.CallOptions = {}) => new Promise((resolve, reject) => {
    channel.makeUnaryRequest(path, write, read, request, none, options, (error, value) => (error === null ? resolve(value) : reject(error)));
  });
}

/** Everything that a server stream sends until it ends. */
export function collect<T>(stream: grpc.ClientReadableStream<T>): Promise<T[]> {
  return new Promise((resolve, reject) => {
    const messages: T[] = [];
    stream.on('data', (message: T) => messages.push(message));
    stream.on('error', reject);
    stream.on('end', () => resolve(messages));
  });
}
