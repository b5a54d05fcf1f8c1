/// How operations begin.
extension Worker {
  /// Begins what is due, as long as a client is free.
  func issueDue(_ now: UInt64) {
    guard var schedule else { return }
    if now >= warmupEnd, schedule.next < warmupEnd {
      // What the warm-up could not send would stand in front of all that is measured.
      schedule = arrivals(from: warmupEnd) ?? schedule
    }
    // Before they are sent: late is late, whether clients are busy or this thread was not running.
    let behind = schedule.next < min(now, end) ? now - schedule.next : 0
    progress.behindNanoseconds.store(behind, ordering: .relaxed)
    if now >= warmupEnd {
      measured.behindMaxNanoseconds = max(measured.behindMaxNanoseconds, behind)
    }
    while isGenerating, freeStart < free.count, schedule.next <= now, schedule.next < end {
      let client = free[freeStart]
      freeStart += 1
      let intended = schedule.next
      schedule.advance(&random)
      issue(client, intended: intended)
    }
    if freeStart > 1_024 {
      free.removeFirst(freeStart)
      freeStart = 0
    }
    self.schedule = schedule
  }

  /// A client may begin another operation.
  @inline(__always)
  func release(_ client: Int32, _ now: UInt64) {
    guard isGenerating else { return }
    if schedule == nil {
      if now < end { issue(client, intended: now) }
    } else {
      free.append(client)
    }
  }

  @inline(__always)
  func issue(_ client: Int32, intended: UInt64) {
    let isMeasured = intended >= warmupEnd
    if isMeasured {
      guard operationsLeft > 0 else { return }
      if operationsLeft != .max { operationsLeft -= 1 }
    }
    var exchange = Exchange(
      kind: plan.parameters.mix.next(&random), isMeasured: isMeasured, client: client, key: 0,
      intended: intended, began: intended)
    if exchange.kind == .insert {
      guard let key = run.inserted.take() else {
        measured.ranOutOfKeys = true
        return
      }
      exchange.key = key
    } else {
      exchange.key = keyChoice.next(present: run.inserted.present, &random)
      if exchange.kind == .scan { exchange.limit = UInt32(random.below(WorkerPlan.scanMax)) + 1 }
    }
    submit(exchange)
  }

  /// Gives it to the connection of its client to the right node.
  @inline(__always)
  func submit(_ exchange: Exchange) {
    let node = nodeCount > 1 ? node(for: exchange) : 0
    let connection = connections[Int(exchange.client) * nodeCount + node]
    let index = connection.append(exchange)
    guard case .open = connection.state else { return }
    let now = Clock.monotonic()
    connection.withExchange(at: index) { write(&$0, to: connection, now) }
    if !connection.isListed, connection.number != receiving {
      connection.isListed = true
      listed.append(connection)
    }
  }

  func node(for exchange: Exchange) -> Int {
    let targets = plan.targets
    let shard = shard(of: exchange)
    if let leaders = run.leaders, isForLeader(exchange) { return leaders.leader(of: shard) }
    let places = exchange.kind.isWrite ? targets.writers[shard] : targets.readers[shard]
    return places[Int(random.below(UInt64(places.count)))]
  }

  private func shard(of exchange: Exchange) -> Int {
    let targets = plan.targets
    guard targets.routesByKey else { return 0 }
    return plan.texts[0].withKey(exchange.key) { targets.shard(of: $0) }
  }

  private func isForLeader(_ exchange: Exchange) -> Bool {
    exchange.kind.isWrite || plan.parameters.readFrom == .leader
  }

  /// A failure may say that another node leads by now.
  func doubtLeader(_ exchange: Exchange, _ kind: FailureKind) {
    guard let leaders = run.leaders, isForLeader(exchange) else { return }
    switch kind {
    case .connect, .lost, .timeout, .status(307), .status(403), .status(421):
      leaders.doubt(shard(of: exchange))
    default: break
    }
  }

  /// Puts the request's bytes where they are sent from: this is where a read or a write begins.
  @inline(__always)
  func write(_ exchange: inout Exchange, to connection: Connection, _ now: UInt64) {
    exchange.sent = now
    switch exchange.kind {
    case .read, .modifyRead:
      if let board = run.board {
        exchange.mark = board.readBegan(exchange.key)
        if exchange.isMeasured,
          let interval = board.nanosecondsSinceWrite(exchange.key, now: now)
        {
          measured.intervals.record(interval)
        }
      }
      connection.text.appendRead(exchange.key, to: &connection.output)
    case .update, .insert, .modifyWrite:
      run.board?.writeBegan(exchange.key)
      connection.text.appendWrite(exchange.key, to: &connection.output)
    case .scan:
      connection.text.appendScan(
        after: exchange.key, count: UInt64(exchange.limit), to: &connection.output)
    }
    if exchange.isMeasured, schedule != nil, exchange.kind != .modifyWrite {
      measured.sendDelays.record(now > exchange.intended ? now - exchange.intended : 0)
    }
  }
}
