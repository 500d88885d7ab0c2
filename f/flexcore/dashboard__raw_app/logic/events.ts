// What happened to the steps of an execution, in the order in which it happened.
import type { Step, StepEvent } from './types'

export type OrderedEvent = StepEvent & { step: string }

/** Oldest first. An event without a time stays behind the one before it in its step; without any, at the step's begin. */
export function orderEvents(steps: Step[]): OrderedEvent[] {
  const timed = steps.flatMap((step) => {
    let last = Date.parse(step.created_at ?? '')
    return (step.events ?? []).map((event) => {
      const at = Date.parse(event.at ?? '')
      if (!Number.isNaN(at)) last = at
      return { event: { ...event, step: step.id }, at: last }
    })
  })
  const begin = timed.reduce((least, { at }) => (at < least ? at : least), Infinity)
  const key = ({ at }: { at: number }) => (Number.isNaN(at) ? begin : at)
  return timed.sort((a, b) => key(a) - key(b) || 0).map(({ event }) => event)
}
