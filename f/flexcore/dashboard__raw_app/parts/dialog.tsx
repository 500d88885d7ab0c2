// A question before something is done: what will happen, a reason where one is asked for, and what came of it.
import React, { useEffect, useRef, useState } from 'react'
import type { CallProblem } from '../logic/calls'
import { asProblem } from '../logic/store'

type Props = {
  title: string
  confirm: string
  danger?: boolean
  reason?: string
  children: React.ReactNode
  onClose: () => void
  act: (reason: string) => Promise<React.ReactNode>
}

export function Dialog({ title, confirm, danger, reason: reasonLabel, children, onClose, act }: Props) {
  const box = useRef<HTMLDialogElement>(null)
  const [reason, setReason] = useState('')
  const [acting, setActing] = useState(false)
  const [problem, setProblem] = useState<CallProblem | null>(null)
  const [done, setDone] = useState<React.ReactNode>(null)
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null
    box.current?.showModal()
    return () => before?.focus?.()
  }, [])
  const isOpen = !!problem?.job
  const missing = reasonLabel !== undefined && !reason.trim()
  const submit = async (event: React.FormEvent) => {
    event.preventDefault()
    if (acting || missing) return
    setActing(true)
    setProblem(null)
    try {
      setDone(await act(reason.trim()))
    } catch (error) {
      setProblem(asProblem(error))
    }
    setActing(false)
  }
  return (
    <dialog ref={box} aria-labelledby="dialog-title" onClose={onClose} onCancel={(event) => acting && event.preventDefault()}>
      <form onSubmit={submit}>
        <h2 id="dialog-title">{title}</h2>
        {done === null ? (
          <>
            {children}
            {reasonLabel !== undefined && (
              <label className="block">
                <span>{reasonLabel}</span>
                <textarea value={reason} onChange={(event) => setReason(event.target.value)} rows={2} maxLength={500} required autoFocus />
              </label>
            )}
          </>
        ) : (
          <div role="status">{done}</div>
        )}
        {problem && (
          <div className="dialog-problem" role="alert">
            <p>{problem.message}</p>
            {problem.remedy && <p className="remedy">{problem.remedy}</p>}
            {isOpen && <p>Nothing is started a second time: the same job is asked what became of it.</p>}
          </div>
        )}
        <div className="dialog-buttons">
          <button type="button" onClick={() => box.current?.close()} disabled={acting} autoFocus={reasonLabel === undefined}>
            {done === null ? 'Leave it' : 'Close'}
          </button>
          {done === null && (
            <button type="submit" className={danger && !isOpen ? 'danger' : 'primary'} disabled={acting || missing}>
              {acting ? 'Working…' : isOpen ? 'Ask again' : confirm}
            </button>
          )}
        </div>
      </form>
    </dialog>
  )
}
