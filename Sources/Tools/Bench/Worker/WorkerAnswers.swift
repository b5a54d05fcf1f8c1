/// What an answer, or none, means.
extension Worker {
  func complete(
    _ exchange: Exchange, _ answer: AnswerParser.Answer, _ now: UInt64
  ) {
    lastSign = now
    guard isRight(answer.status, for: exchange.kind) else {
      return fail(exchange, .status(answer.status), now)
    }
    let isAbsent = answer.status == 404
    if plan.parameters.checksStaleness, exchange.kind != .scan, !isAbsent,
      isLeaderless ? answer.context.isEmpty : answer.version == 0
    {
      return fail(exchange, .unversioned, now)
    }
    answered += 1
    let order = isAbsent ? 0 : order(of: answer)
    if exchange.kind.isWrite {
      run.board?.writeAcknowledged(exchange.key, order: order, context: answer.context, now: now)
      if exchange.kind == .insert { run.inserted.finish(exchange.key) }
    }
    if exchange.isMeasured {
      record(exchange, answer, order: order, now)
    }
    if exchange.kind == .modifyRead {
      var write = exchange
      write.kind = .modifyWrite
      write.intended = now
      write.sent = 0
      submit(write)
    } else {
      release(exchange.client, now)
    }
  }

  private var isLeaderless: Bool { plan.targets.mode == .leaderless }

  /// A read may find nothing, and in a leaderless set siblings.
  private func isRight(_ status: Int, for kind: Exchange.Kind) -> Bool {
    switch status {
    case 404: kind.isJudged
    case 300: kind.isJudged && isLeaderless
    default: kind.isJudged ? status == 200 : status / 100 == 2
    }
  }

  private func order(of answer: AnswerParser.Answer) -> UInt64 {
    isLeaderless
      ? VersionBoard.presence
      : VersionBoard.order(version: answer.version, epoch: answer.epoch)
  }

  /// - Parameter order: of the answer's version; 0 for an absent key.
  @inline(__always)
  func record(
    _ exchange: Exchange, _ answer: AnswerParser.Answer, order: UInt64, _ now: UInt64
  ) {
    let latency = now > exchange.intended ? now - exchange.intended : 0
    let isInTime: UInt64 = now <= end ? 1 : 0
    measured.lastAnswer = max(measured.lastAnswer, now)
    let client = Int(exchange.client)
    let time = now - warmupEnd
    switch exchange.kind {
    case .read, .modifyRead:
      measured.reads.record(latency)
      measured.inTimeReads += isInTime
      measured.clientReads[client].record(latency)
      measured.timeline.record(.read, at: time, latency: latency)
      if answer.status == 404 { measured.absentReads += 1 }
      if answer.status == 300 { measured.siblingReads += 1 }
      if plan.parameters.checksStaleness, let board = run.board {
        measured.judgedReads += 1
        let verdict = board.judge(
          exchange.key, since: exchange.mark, order: order, context: answer.context)
        switch verdict {
        case .fresh: break
        case .concurrent: measured.concurrentReads += 1
        case .stale: measured.staleReads += 1
        }
      }
    case .scan:
      measured.scans.record(latency)
      measured.inTimeScans += isInTime
      measured.timeline.record(.read, at: time, latency: latency)
    case .update, .insert, .modifyWrite:
      measured.writes.record(latency)
      measured.inTimeWrites += isInTime
      measured.clientWrites[client].record(latency)
      measured.timeline.record(.write, at: time, latency: latency)
      if exchange.kind == .modifyWrite {
        measured.readModifyWrites.record(now > exchange.began ? now - exchange.began : 0)
      }
    }
  }

  func fail(_ exchange: Exchange, _ kind: FailureKind, _ now: UInt64) {
    failed += 1
    doubtLeader(exchange, kind)
    if exchange.kind.isWrite, exchange.sent > 0 { run.board?.writeFailed(exchange.key) }
    if exchange.kind == .insert { run.inserted.finish(exchange.key) }
    if exchange.isMeasured {
      let time = now > exchange.intended ? now - exchange.intended : 0
      measured.failureCounts[kind, default: 0] += 1
      measured.failures.record(time)
      measured.timeline.record(
        .failure, at: now > warmupEnd ? now - warmupEnd : 0, latency: time)
    }
    if case .status = kind { lastSign = now }
    release(exchange.client, now)
  }
}
