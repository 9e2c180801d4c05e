// Tests only: one API server for all tests of a file.

import {afterAll, beforeAll} from '@jest/globals';
import type {KubeClient} from '../kube/client.js';
import {TestApiServer} from './api-server.js';

export interface UsedApiServer {
  readonly server: TestApiServer;
  /** As an administrator. */
  readonly client: KubeClient;
  /** Aborted after the last test. */
  readonly signal: AbortSignal;
}

/** To be called at the top of a test file. `prepare` runs before the first test. */
export function useApiServer(prepare?: (api: UsedApiServer) => Promise<unknown>): UsedApiServer {
  const stop = new AbortController();
  let started: {readonly server: TestApiServer; readonly client: KubeClient} | null = null;
  const running = (): NonNullable<typeof started> => {
    if (started === null) throw new Error('there is no API server before the first test');
    return started;
  };
  const api: UsedApiServer = {
    get server() {
      return running().server;
    },
    get client() {
      return running().client;
    },
    signal: stop.signal,
  };
  beforeAll(async () => {
    const server = await TestApiServer.start();
    started = {server, client: server.client()};
    await prepare?.(api);
  }, 90_000);
  afterAll(async () => {
    stop.abort();
    await started?.client.close();
    await started?.server.stop();
  });
  return api;
}
