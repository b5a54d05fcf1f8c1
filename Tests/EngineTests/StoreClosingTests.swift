import Engine
import SimulatedDisk
import Synchronization
import Testing
import WAL

/// Submits without end, and counts what comes back.
private final class Flood: SubmissionOwner {
  struct State {
    var spares: [Submission] = []
    var out: [ObjectIdentifier] = []
    var returned = 0
    /// Given back twice, or before an earlier one.
    var disordered = 0
    var acknowledged: [String: UInt64] = [:]
    var isStopped = false
    /// Acknowledged behind one that was not taken any more.
    var lateSuccesses = 0
  }

  let name: String
  let state = Monitor(State())

  init(name: String) { self.name = name }

  func completed(_ submission: Submission) {
    state.signal { state in
      state.returned += 1
      if state.out.first == ObjectIdentifier(submission) {
        state.out.removeFirst()
      } else {
        state.disordered += 1
      }
      for (index, request) in submission.requests.enumerated() {
        switch request.outcome {
        case .created, .replaced:
          if state.isStopped { state.lateSuccesses += 1 }
          let key = String(decoding: submission.key(of: index), as: UTF8.self)
          state.acknowledged[key] = request.version
        case .stopped: state.isStopped = true
        default: state.disordered += 1
        }
      }
      submission.removeAll()
      state.spares.append(submission)
    }
  }

  /// - Returns: how many were submitted.
  func run(_ store: Store, count: Int) {
    state.withLock { state in state.spares = (0..<4).map { _ in Submission(owner: self) } }
    for number in 0..<count {
      let submission = state.wait { $0.spares.popLast() }
      for part in 0..<2 { submission.put("\(name)-\((number + part) % 50)", "v", store.index) }
      state.withLock { $0.out.append(ObjectIdentifier(submission)) }
      store.committer.submit(submission)
    }
  }
}

@Suite("Closing a store while others write")
struct StoreClosingTests {
  @Test("gives every submission back once, in order, and keeps what it acknowledged")
  func racing() throws {
    for round in 0..<40 as Range<UInt64> {
      let disk = SimulatedDisk(seed: round)
      var options = StoreOptions(dataDirectory: "/data", node: 7)
      options.fileSystem = disk
      options.usesThreads = false
      options.segmentBytes = 64 << 10
      let store = try Store.open(options)
      let floods = (0..<4).map { Flood(name: "flood-\($0)") }
      let count = 300
      let threads = floods.map { flood in ThreadHandle { flood.run(store, count: count) } }
      // Somewhere in the middle of it.
      floods[0].state.wait { $0.returned >= Int(round) * 7 ? () : nil }
      try store.close()
      for thread in threads { thread.join() }
      var acknowledged: [String: UInt64] = [:]
      for flood in floods {
        flood.state.withLock { state in
          #expect(state.returned == count && state.disordered == 0 && state.out.isEmpty)
          #expect(state.lateSuccesses == 0)
          acknowledged.merge(state.acknowledged) { $1 }
        }
      }
      #expect(store.committer.inFlightBytes == 0)
      let again = try Store.open(options)
      #expect(again.report.log.wasClean && again.report.digestMismatches == [])
      #expect(again.index.count == acknowledged.count)
      #expect(acknowledged.allSatisfy { again.index.version(utf8($0)) == $1 })
      try again.close()
    }
  }
}
