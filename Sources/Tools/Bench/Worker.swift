#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One thread of a run: its clients, their connections, and what is measured of them.
///
/// A client has up to `pipeline` operations under way. In a closed loop the next one begins when one is
/// answered; in an open loop when it is due, and if all clients are busy then it waits, and its wait is
/// part of its latency.
final class Worker {
  /// How often time-outs and attempts to connect are looked at.
  private static let tickNanoseconds: UInt64 = 5_000_000
  private static let inputBytes = 256 << 10
  private static let countedMax: UInt64 = 10_000_000

  let plan: WorkerPlan
  let run: RunState
  let progress: RunState.Progress
  var poller: Poller
  var connections: [Connection] = []
  let input = UnsafeMutableRawBufferPointer.allocate(byteCount: inputBytes, alignment: 16)
  /// Clients that may begin an operation, first in, first out.
  private var free: [Int32] = []
  private let nodeCount: Int
  /// The connection whose answers are being looked at: it sends by itself behind them.
  private var receiving = -1
  private var freeStart = 0
  /// Connections that have something to send.
  private var listed: [Connection] = []
  private var random: RandomSource
  private var keyChoice: KeyChoice
  private var schedule: ArrivalSchedule?
  var measured: Measurements

  // The run's times, on the monotonic clock; .max until they are known.
  private var warmupEnd = UInt64.max
  private var end = UInt64.max
  private var drainEnd = UInt64.max
  private var operationsLeft: UInt64
  private var isReady = false
  private var isGenerating = false
  private var processorStart: UInt64 = 0
  private var answeredAtStart: UInt64 = 0
  private var lastSign: UInt64 = 0
  /// With the warm-up.
  private var answered: UInt64 = 0
  private var failed: UInt64 = 0

  init(_ plan: WorkerPlan, _ run: RunState) throws(BenchError) {
    self.plan = plan
    self.run = run
    progress = run.progress[plan.number]
    nodeCount = plan.targets.nodes.count
    poller = try Poller()
    random = RandomSource(seed: plan.parameters.seed &+ UInt64(plan.number) &* 0x9e37_79b9)
    keyChoice = plan.keyChoice
    operationsLeft = plan.operations ?? .max
    measured = Measurements(seed: plan.parameters.seed &+ UInt64(plan.number))
    measured.clientReads = Array(repeating: ClientTotals(), count: plan.clients)
    measured.clientWrites = Array(repeating: ClientTotals(), count: plan.clients)
    for _ in 0..<plan.clients {
      for node in plan.targets.nodes.indices {
        connections.append(
          Connection(
            number: connections.count, node: node, address: plan.addresses[node],
            text: plan.texts[node], exchangesMax: plan.parameters.pipeline))
      }
    }
  }

  deinit { input.deallocate() }

  // MARK: - Loop

  func work() -> Measurements {
    var nextTick: UInt64 = 0
    while true {
      var now = Clock.monotonic()
      if now >= nextTick {
        tick(now)
        nextTick = now + Self.tickNanoseconds
        if isDone(now) { break }
      }
      if isGenerating, schedule != nil { issueDue(now) }
      sendListed(now)
      var wake = nextTick
      if isGenerating, let schedule, freeStart < free.count { wake = min(wake, schedule.next) }
      let count = poller.wait(until: wake, now: now)
      now = Clock.monotonic()
      for index in 0..<count {
        guard let readiness = poller.readiness(at: index) else { continue }
        handle(connections[readiness.number], readiness)
      }
      progress.answered.store(answered, ordering: .relaxed)
    }
    finish()
    return measured
  }

  /// What is to be done now and then.
  private func tick(_ now: UInt64) {
    for connection in connections {
      switch connection.state {
      case .closed(let retryAt): if now >= retryAt { connect(connection, now) }
      case .connecting(let deadline): if now >= deadline { cannotConnect(connection, now) }
      case .open:
        if let oldest = connection.oldest, oldest.sent > 0,
          now > oldest.sent, now - oldest.sent > plan.timeoutNanoseconds
        {
          drop(connection, now, because: .timeout)
        }
      }
    }
    if !isReady, connections.allSatisfy(\.wasTried) {
      isReady = true
      run.isReady()
    }
    if warmupEnd == .max { begin() }
    if isGenerating { watch(now) }
    progress.failed.store(failed, ordering: .relaxed)
  }

  /// Begins once all threads are ready.
  private func begin() {
    let start = run.start.load(ordering: .acquiring)
    guard start > 0 else { return }
    warmupEnd = start + plan.warmupNanoseconds
    if let duration = plan.durationNanoseconds { end = warmupEnd + duration }
    lastSign = start
    isGenerating = true
    if let rate = plan.operationsPerSecond {
      schedule = ArrivalSchedule(
        plan.parameters.arrivals, rate: rate, start: start, phase: plan.arrivalPhase)
      // A round of all clients at a time: neighbours are not one client's.
      for _ in 0..<plan.parameters.pipeline { free += (0..<plan.clients).map { Int32($0) } }
    } else {
      let now = Clock.monotonic()
      for _ in 0..<plan.parameters.pipeline {
        for client in 0..<plan.clients { issue(Int32(client), intended: now) }
      }
    }
  }

  /// Ends the time in which operations begin when it is over, or when nothing answers any more.
  private func watch(_ now: UInt64) {
    if processorStart == 0, now >= warmupEnd {
      processorStart = Clock.threadProcessor()
      answeredAtStart = answered
    }
    if run.isStopping.load(ordering: .relaxed) { end = min(end, now) }
    if plan.durationNanoseconds == nil, now > lastSign, now - lastSign > plan.giveUpNanoseconds {
      measured.gaveUp = true
      end = min(end, now)
    }
    let isScheduled = schedule.map { $0.next < end } ?? true
    // What is due before the end is sent after it: its latency says so.
    if now >= end && !isScheduled || now >= end && schedule == nil || operationsLeft == 0
      || measured.ranOutOfKeys || now >= end && isBehindForGood(now)
    {
      stopGenerating(now)
    }
  }

  /// An open loop that is behind at the end gets as long as a request may take to catch up.
  private func isBehindForGood(_ now: UInt64) -> Bool { now - end > plan.timeoutNanoseconds }

  private func stopGenerating(_ now: UInt64) {
    isGenerating = false
    end = min(end, now)
    drainEnd = now + plan.timeoutNanoseconds
    measured.processorNanoseconds = Clock.threadProcessor() - processorStart
    measured.requestsOfProcessorTime = processorStart > 0 ? answered - answeredAtStart : 0
    if processorStart == 0 { measured.processorNanoseconds = 0 }
    measured.start = warmupEnd
    measured.windowNanoseconds = end > warmupEnd ? end - warmupEnd : 0
    countUnsent()
    for connection in connections { abandonUnsent(connection) }
    if measured.gaveUp, operationsLeft != .max { measured.unsent += operationsLeft }
  }

  /// What was due and never sent. Of the rest of an interrupted or broken run nothing was due.
  private func countUnsent() {
    guard var schedule else { return }
    var count: UInt64 = 0
    while schedule.next < end, count < operationsLeft {
      if schedule.next >= warmupEnd { count += 1 }
      guard count < Self.countedMax else {
        // Exact enough for so many.
        count += UInt64(Double(end - schedule.next) / 1e9 * (plan.operationsPerSecond ?? 0))
        break
      }
      schedule.advance(&random)
    }
    measured.unsent += min(count, operationsLeft)
    if operationsLeft != .max { operationsLeft -= min(count, operationsLeft) }
  }

  private func isDone(_ now: UInt64) -> Bool {
    if warmupEnd == .max { return run.isStopping.load(ordering: .relaxed) }
    guard !isGenerating else { return false }
    return now >= drainEnd || connections.allSatisfy { $0.exchangeCount == 0 }
  }

  private func finish() {
    let now = Clock.monotonic()
    for connection in connections {
      while connection.exchangeCount > 0 { fail(connection.removeFirst(), .timeout, now) }
    }
  }

  // MARK: - Operations

  /// Begins what is due, as long as a client is free.
  private func issueDue(_ now: UInt64) {
    guard var schedule else { return }
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
    let behind = schedule.next < min(now, end) ? now - schedule.next : 0
    progress.behindNanoseconds.store(behind, ordering: .relaxed)
    if now >= warmupEnd {
      measured.behindMaxNanoseconds = max(measured.behindMaxNanoseconds, behind)
    }
  }

  /// A client may begin another operation.
  @inline(__always)
  private func release(_ client: Int32, _ now: UInt64) {
    guard isGenerating else { return }
    if schedule == nil {
      if now < end { issue(client, intended: now) }
    } else {
      free.append(client)
    }
  }

  @inline(__always)
  private func issue(_ client: Int32, intended: UInt64) {
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
  private func submit(_ exchange: Exchange) {
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

  private func node(for exchange: Exchange) -> Int {
    let targets = plan.targets
    var shard = 0
    if targets.shardCount > 1 {
      let key = RequestText.key(exchange.key, prefix: plan.parameters.keyPrefix)
      shard = targets.shard(of: key.utf8)
    }
    let places = exchange.kind.isWrite ? targets.writers[shard] : targets.readers[shard]
    return places[Int(random.below(UInt64(places.count)))]
  }

  /// Puts the request's bytes where they are sent from: this is where a read or a write begins.
  @inline(__always)
  private func write(_ exchange: inout Exchange, to connection: Connection, _ now: UInt64) {
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

  // MARK: - Connections

  private func connect(_ connection: Connection, _ now: UInt64) {
    guard let descriptor = connection.address.connect() else {
      cannotConnect(connection, now)
      return
    }
    connection.descriptor = descriptor
    connection.state = .connecting(deadline: now + plan.timeoutNanoseconds)
    connection.awaitsRoom = true
    poller.add(descriptor, number: connection.number, awaitsRoom: true)
  }

  private func cannotConnect(_ connection: Connection, _ now: UInt64) {
    connection.wasTried = true
    close(connection, now)
    failAll(connection, now, first: .connect, others: .connect)
  }

  private func connected(_ connection: Connection, _ now: UInt64) {
    guard SocketAddress.isConnected(connection.descriptor) else {
      cannotConnect(connection, now)
      return
    }
    connection.wasTried = true
    connection.state = .open
    measured.connectionsOpened += 1
    connection.forUnsent { write(&$0, to: connection, now) }
    send(connection, now)
  }

  private func handle(_ connection: Connection, _ readiness: Poller.Readiness) {
    switch connection.state {
    case .closed: return
    case .connecting: if readiness.isWritable { connected(connection, Clock.monotonic()) }
    case .open:
      if readiness.isWritable, connection.awaitsRoom { send(connection, Clock.monotonic()) }
      if readiness.isReadable, case .open = connection.state { receive(connection) }
    }
  }

  private func sendListed(_ now: UInt64) {
    guard !listed.isEmpty else { return }
    for connection in listed {
      connection.isListed = false
      if case .open = connection.state { send(connection, now) }
    }
    listed.removeAll(keepingCapacity: true)
  }

  private func send(_ connection: Connection, _ now: UInt64) {
    guard connection.send() else {
      drop(connection, now, because: .lost)
      return
    }
    let awaitsRoom = !connection.output.isEmpty
    guard awaitsRoom != connection.awaitsRoom else { return }
    connection.awaitsRoom = awaitsRoom
    poller.update(connection.descriptor, number: connection.number, awaitsRoom: awaitsRoom)
  }

  /// Reads what has come, and begins what that makes room for.
  private func receive(_ connection: Connection) {
    receiving = connection.number
    defer { receiving = -1 }
    let kept = connection.leftover.count
    if kept > 0 {
      connection.leftover.withUnsafeBytes { input.copyMemory(from: $0) }
      connection.leftover.removeAll(keepingCapacity: true)
    }
    let count = recv(connection.descriptor, input.baseAddress! + kept, input.count - kept, 0)
    let now = Clock.monotonic()
    guard count > 0 else {
      if count < 0, errno == EAGAIN || errno == EINTR {
        connection.leftover.append(contentsOf: input[..<kept])
        return
      }
      if let answer = connection.parser.end(), connection.oldest?.sent ?? 0 > 0 {
        complete(connection.removeFirst(), answer, now)
      }
      drop(connection, now, because: .lost)
      return
    }
    let bytes = UnsafeRawBufferPointer(rebasing: input[..<(kept + count)])
    var position = 0
    while position < bytes.count {
      switch connection.parser.next(bytes, &position) {
      case .needsMore:
        connection.leftover.append(contentsOf: bytes[position...])
        position = bytes.count
      case .malformed:
        drop(connection, now, because: .malformed)
        return
      case .answer(let answer):
        guard connection.oldest?.sent ?? 0 > 0 else {
          // An answer that nobody has asked for.
          drop(connection, now, because: .malformed)
          return
        }
        connection.retryNanoseconds = 0
        let exchange = connection.removeFirst()
        if answer.closes {
          drop(connection, now, because: .lost)
          complete(exchange, answer, now)
          return
        }
        complete(exchange, answer, now)
      }
    }
    // At once, so that the node has it before the other answers are looked at.
    if !connection.output.isEmpty { send(connection, now) }
  }

  /// Closes a connection that is of no use any more; what was under way fails.
  private func drop(_ connection: Connection, _ now: UInt64, because kind: FailureKind) {
    if connection.exchangeCount > 0 { measured.connectionsLost += 1 }
    let wasUseful = connection.retryNanoseconds == 0
    close(connection, now)
    failAll(connection, now, first: kind, others: .lost)
    if wasUseful { connect(connection, now) }
  }

  private func close(_ connection: Connection, _ now: UInt64) {
    connection.reset()
    connection.state = .closed(retryAt: now + connection.retryNanoseconds)
    connection.retryNanoseconds = min(
      Connection.retryMaxNanoseconds,
      max(Connection.retryFirstNanoseconds, 2 * connection.retryNanoseconds))
  }

  /// Those that begin meanwhile wait for the next attempt.
  private func failAll(
    _ connection: Connection, _ now: UInt64, first: FailureKind, others: FailureKind
  ) {
    var kind = first
    for _ in 0..<connection.exchangeCount {
      fail(connection.removeFirst(), kind, now)
      kind = others
    }
  }

  /// At the end: what could not be sent is not waited for.
  private func abandonUnsent(_ connection: Connection) {
    if case .open = connection.state { return }
    while connection.exchangeCount > 0 {
      if connection.removeFirst().isMeasured { measured.unsent += 1 }
    }
  }

  // MARK: - Answers

  private func complete(
    _ exchange: Exchange, _ answer: AnswerParser.Answer, _ now: UInt64
  ) {
    lastSign = now
    let isRight =
      exchange.kind.isJudged
      ? answer.status == 200 || answer.status == 404 : answer.status / 100 == 2
    guard isRight else { return fail(exchange, .status(answer.status), now) }
    let isAbsent = answer.status == 404
    if plan.parameters.checksStaleness, exchange.kind != .scan, !isAbsent, answer.version == 0 {
      return fail(exchange, .unversioned, now)
    }
    answered += 1
    let order = VersionBoard.order(version: answer.version, epoch: answer.epoch)
    if exchange.kind.isWrite {
      run.board?.writeAcknowledged(exchange.key, order: order, now: now)
      if exchange.kind == .insert { run.inserted.finish(exchange.key) }
    }
    if exchange.isMeasured {
      record(exchange, isAbsent: isAbsent, order: order, now)
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

  @inline(__always)
  private func record(_ exchange: Exchange, isAbsent: Bool, order: UInt64, _ now: UInt64) {
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
      if isAbsent { measured.absentReads += 1 }
      if plan.parameters.checksStaleness, let board = run.board {
        measured.judgedReads += 1
        switch board.judge(exchange.key, since: exchange.mark, order: isAbsent ? 0 : order) {
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

  private func fail(_ exchange: Exchange, _ kind: FailureKind, _ now: UInt64) {
    failed += 1
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
