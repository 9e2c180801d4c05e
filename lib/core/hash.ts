// Content hashes without node:crypto, so that pure folders may use them. FNV-1a, two 32-bit lanes.

const FNV_PRIME = 0x01000193;

/** 16 hex digits. Not cryptographic: it names versions of our own values. */
export function contentHash(text: string): string {
  let a = 0x811c9dc5;
  let b = 0xcbf29ce4;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, FNV_PRIME);
    b = Math.imul(b ^ (unit + 0x9e37), FNV_PRIME) ^ (a >>> 15);
  }
  return hex32(a) + hex32(b);
}

function hex32(n: number): string {
  return (n >>> 0).toString(16).padStart(8, '0');
}
