// The pool alone, without undici's fetch, cache and websocket code: 11 MB less in every process.

declare module 'undici/lib/dispatcher/pool.js' {
  import type {Pool} from 'undici';
  const pool: typeof Pool;
  export default pool;
}
