// Binds a gRPC server, and says where it listens.

import type * as grpc from '@grpc/grpc-js';
import {StentorError} from '../../lib/core/errors.js';

/** `listen`: `host:port`; answers with the real port. */
export async function bind(server: grpc.Server, listen: string, credentials: grpc.ServerCredentials): Promise<string> {
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(listen, credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(new StentorError('LISTEN', `cannot listen on ${listen}: ${error.message}`, {listen}, {cause: error}));
    });
  });
  return `${listen.slice(0, listen.lastIndexOf(':'))}:${port}`;
}
