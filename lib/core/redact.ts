// Passwords are for their users only: what is printed for people goes through here.

/** A copy in which every text under the name `password` is hidden. */
export function hidePasswords(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(hidePasswords);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, name === 'password' && typeof inner === 'string' ? '(hidden)' : hidePasswords(inner)]));
}
