// Two requests field by field: what was added, taken out or changed since the last good run.

export type Difference = { path: string; before: string | null; after: string | null; change: 'same' | 'added' | 'removed' | 'changed' }

const MAX_FIELDS = 2000

function flatten(value: unknown, path: string, into: Map<string, string>): void {
  if (into.size >= MAX_FIELDS) return
  const fields = Array.isArray(value)
    ? value.map((item, index): [string, unknown] => [`[${index}]`, item])
    : value && typeof value === 'object'
      ? Object.entries(value).map(([key, item]): [string, unknown] => [path ? `.${key}` : key, item])
      : null
  if (!fields || !fields.length) into.set(path || '(all)', JSON.stringify(value) ?? 'null')
  else for (const [key, item] of fields) flatten(item, path + key, into)
}

/** Fields of both in the order of the newer one; `before` null: there is no good run to compare with. */
export function compareRequests(before: unknown, after: unknown): Difference[] {
  const old = new Map<string, string>()
  const now = new Map<string, string>()
  if (before != null) flatten(before, '', old)
  flatten(after, '', now)
  const found: Difference[] = []
  for (const [path, value] of now) {
    const was = old.get(path) ?? null
    found.push({ path, before: was, after: value, change: before == null || was === value ? 'same' : was === null ? 'added' : 'changed' })
  }
  for (const [path, value] of old) if (!now.has(path)) found.push({ path, before: value, after: null, change: 'removed' })
  return found
}
