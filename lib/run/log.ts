// Structured log: a constant message and fields. Per-object lines are `debug`.

import winston from 'winston';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A log whose lines carry `fields` too. */
  child(fields: LogFields): Log;
}

/** JSON lines on stderr: `{"time", "level", "msg", …fields}`. */
export function createLog(options: {readonly level: LogLevel; readonly fields?: LogFields}): Log {
  const logger = winston.createLogger({
    level: options.level,
    levels: {error: 0, warn: 1, info: 2, debug: 3},
    format: winston.format.printf((line) => {
      const {level, message, ...fields} = line;
      return JSON.stringify({time: new Date().toISOString(), level, msg: message, ...fields});
    }),
    transports: [new winston.transports.Console({stderrLevels: ['error', 'warn', 'info', 'debug']})],
  });
  return wrap(logger.child({...options.fields}));
}

function wrap(logger: winston.Logger): Log {
  return {
    error: (message, fields) => void logger.error(message, fields),
    warn: (message, fields) => void logger.warn(message, fields),
    info: (message, fields) => void logger.info(message, fields),
    debug: (message, fields) => void logger.debug(message, fields),
    child: (fields) => wrap(logger.child({...fields})),
  };
}

/** What an unknown thrown value says, with its code and data when it is ours. */
export function errorFields(error: unknown): LogFields {
  if (!(error instanceof Error)) return {error: String(error)};
  const {code, data} = error as {code?: unknown; data?: unknown};
  return {error: error.message, ...(code === undefined ? {} : {code}), ...(data === undefined ? {} : {data})};
}

export const silentLog: Log = {error() {}, warn() {}, info() {}, debug() {}, child: () => silentLog};
