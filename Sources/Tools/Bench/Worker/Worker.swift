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
  static let tickNanoseconds: UInt64 = 5_000_000
  private static let inputBytes = 256 << 10
  /// Who interrupts a run does not wait longer for answers.
  private static let interruptedNanoseconds: UInt64 = 1_000_000_000
  private static let countedMax: UInt64 = 10_000_000

  let plan: WorkerPlan
  let run: RunState
  let progress: RunState.Progress
  var poller: Poller
  var connections: [Connection] = []
  let input = UnsafeMutableRawBufferPointer.allocate(byteCount: inputBytes, alignment: 16)
  /// Clients that may begin an operation, first in, first out.
  var free: [Int32] = []
  let nodeCount: Int
  /// The connection whose answers are being looked at: it sends by itself behind them.
  var receiving = -1
  var freeStart = 0
  /// Connections that have something to send.
  var listed: [Connection] = []
  /// Empty but while they are sent.
  var sending: [Connection] = []
  var random: RandomSource
  var keyChoice: KeyChoice
  var schedule: ArrivalSchedule?
  var measured: Measurements

  // The run's times, on the monotonic clock; .max until they are known.
  var warmupEnd = UInt64.max
  var end = UInt64.max
  var drainEnd = UInt64.max
  var operationsLeft: UInt64
  var isReady = false
  var isGenerating = false
  var isInterrupted = false
  var processorStart: UInt64 = 0
  var answeredAtStart: UInt64 = 0
  var lastSign: UInt64 = 0
  /// With the warm-up.
  var answered: UInt64 = 0
  var failed: UInt64 = 0

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
            text: plan.texts[node], exchangesMax: plan.parameters.pipeline,
            isSpare: node >= plan.targets.usedCount))
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
  func tick(_ now: UInt64) {
    for connection in connections {
      switch connection.state {
      case .closed(let retryAt):
        if now >= retryAt, connection.isWanted { connect(connection, now) }
      case .connecting(let deadline): if now >= deadline { cannotConnect(connection, now) }
      case .open:
        if let oldest = connection.oldest, oldest.sent > 0,
          now > oldest.sent, now - oldest.sent > plan.timeoutNanoseconds
        {
          drop(connection, now, because: .timeout)
        }
      }
    }
    if !isReady, connections.allSatisfy({ $0.wasTried || !$0.isWanted }) {
      isReady = true
      run.isReady()
    }
    if warmupEnd == .max { begin() }
    if isGenerating { watch(now) }
    progress.failed.store(failed, ordering: .relaxed)
  }

  /// Begins once all threads are ready.
  func begin() {
    let start = run.start.load(ordering: .acquiring)
    guard start > 0 else { return }
    warmupEnd = start + plan.warmupNanoseconds
    if let duration = plan.durationNanoseconds { end = warmupEnd + duration }
    lastSign = start
    isGenerating = true
    if plan.operationsPerSecond != nil {
      schedule = arrivals(from: start)
      // A round of all clients at a time: neighbours are not one client's.
      for _ in 0..<plan.parameters.pipeline { free += (0..<plan.clients).map { Int32($0) } }
    } else {
      let now = Clock.monotonic()
      for _ in 0..<plan.parameters.pipeline {
        for client in 0..<plan.clients { issue(Int32(client), intended: now) }
      }
    }
  }

  /// The schedule of an open loop.
  func arrivals(from start: UInt64) -> ArrivalSchedule? {
    plan.operationsPerSecond.map {
      ArrivalSchedule(
        plan.parameters.arrivals, rate: $0, start: start, phase: plan.arrivalPhase)
    }
  }

  /// Ends the time in which operations begin when it is over, or when nothing answers any more.
  func watch(_ now: UInt64) {
    if processorStart == 0, now >= warmupEnd {
      processorStart = Clock.threadProcessor()
      answeredAtStart = answered
    }
    if run.isStopping.load(ordering: .relaxed) {
      end = min(end, now)
      return stopGenerating(now)
    }
    if plan.durationNanoseconds == nil, now > lastSign, now - lastSign > plan.giveUpNanoseconds {
      measured.gaveUp = true
      end = min(end, now)
    }
    var isOver = operationsLeft == 0 || measured.ranOutOfKeys
    if now >= end {
      // What was due before the end is sent after it, and its latency says so; but an open loop gets
      // no longer to catch up than a request may take.
      let isBehind = schedule.map { $0.next < end } ?? false
      isOver = isOver || !isBehind || now - end > plan.timeoutNanoseconds
    }
    if isOver { stopGenerating(now) }
  }

  func stopGenerating(_ now: UInt64) {
    isGenerating = false
    end = min(end, now)
    isInterrupted = run.isStopping.load(ordering: .relaxed)
    let patience = isInterrupted ? Self.interruptedNanoseconds : .max
    drainEnd = now + min(patience, plan.timeoutNanoseconds)
    if processorStart > 0 {
      measured.processorNanoseconds = Clock.threadProcessor() - processorStart
      measured.requestsOfProcessorTime = answered - answeredAtStart
    }
    measured.start = warmupEnd
    measured.windowNanoseconds = end > warmupEnd ? end - warmupEnd : 0
    countUnsent()
    for connection in connections { abandonUnsent(connection) }
    if measured.gaveUp, operationsLeft != .max { measured.unsent += operationsLeft }
  }

  /// What was due and never sent. Of the rest of an interrupted or broken run nothing was due.
  func countUnsent() {
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

  func isDone(_ now: UInt64) -> Bool {
    if warmupEnd == .max { return run.isStopping.load(ordering: .relaxed) }
    guard !isGenerating else { return false }
    return now >= drainEnd || connections.allSatisfy { $0.exchangeCount == 0 }
  }

  func finish() {
    // What an interrupted run has under way has not failed.
    guard !isInterrupted else { return }
    let now = Clock.monotonic()
    for connection in connections {
      while connection.exchangeCount > 0 { fail(connection.removeFirst(), .timeout, now) }
    }
  }
}
