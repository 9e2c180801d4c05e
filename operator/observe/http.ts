// /healthz, /readyz, /metrics and /debug: what the operator is and knows, as JSON.

import {sendJson, startHttpServer, type HttpServerHandle} from '../../lib/run/http.js';
import type {OperatorMetrics} from './metrics.js';

export interface HttpParts {
  readonly metrics: OperatorMetrics;
  /** null = healthy, else why not. */
  readonly health: () => string | null;
  readonly ready: () => string | null;
  /** By path below /debug/; null = there is no such thing. */
  readonly debug: (path: string) => unknown;
}

export function startObserveServer(options: {readonly listen: string}, parts: HttpParts): Promise<HttpServerHandle> {
  const probe = (check: () => string | null) => (_request: unknown, response: Parameters<typeof sendJson>[0]): void => {
    const problem = check();
    sendJson(response, problem === null ? 200 : 503, problem === null ? {ok: true} : {ok: false, reason: problem});
  };
  return startHttpServer({
    listen: options.listen,
    routes: {
      'GET /healthz': probe(parts.health),
      'GET /readyz': probe(parts.ready),
      'GET /metrics': async (_request, response) => {
        response.writeHead(200, {'content-type': parts.metrics.contentType});
        response.end(await parts.metrics.render());
      },
      'GET /debug/': (_request, response, url) => {
        const answer = parts.debug(decodeURIComponent(url.pathname.slice('/debug/'.length)));
        if (answer === null) sendJson(response, 404, {error: 'no such thing', try: ['tables', 'tables/NAME', 'nodes', 'nodes/NAME', 'sessions', 'policies', 'cluster-state']});
        else sendJson(response, 200, answer);
      },
    },
  });
}
