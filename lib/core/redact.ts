// Passwords are for their users only: what is printed for people goes through here.

/** A copy in which every text under the name `password` is hidden; of objects that say what they are as JSON, a copy of that. */
export function hidePasswords(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(hidePasswords);
  if (value === null || typeof value !== 'object') return value;
  if ('toJSON' in value && typeof value.toJSON === 'function') return hidePasswords((value.toJSON as () => unknown)());
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, name === 'password' && typeof inner === 'string' ? '(hidden)' : hidePasswords(inner)]));
}
