import Client
import NIOCore
import Testing

@Suite("A request whose task is cancelled", .timeLimit(.minutes(1)))
struct CancellationTests {
  private let get = KVRequest(.GET, "/kv/a")
  private let put = KVRequest(.PUT, "/kv/a", body: ByteBuffer(string: "value"))

  private func fails(
    _ task: Task<KVResponse, any Error>, with error: KVClientError,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async {
    await #expect(throws: error, sourceLocation: sourceLocation) { _ = try await task.value }
  }

  @Test("ends, as of unknown outcome once it was sent, and its connection is not used again")
  func underWay() async throws {
    let script: ScriptedServer.Script = {
      $0.connection == 0 ? [.hold, .answer("late")] : [.answer("new")]
    }
    try await withServer(script) { server, pool in
      let task = Task {
        try await pool.answer(to: put, on: server.address, deadline: .distantFuture)
      }
      try await eventually("it arrives") { server.arrivals.count == 1 }
      task.cancel()
      await fails(task, with: .outcomeUnknown(server.address, .cancelled, .PUT))
      let answer = try await pool.answer(to: get, on: server.address, deadline: .soon)
      #expect(answer.text == "new")
      #expect(server.arrivals.count == 2)
    }
  }

  @Test("gives its place among those that wait to the next one")
  func waiting() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 1, waitingPerNodeMax: 1)
    try await withServer(limits: limits, { _ in [.hold, .answer()] }) { server, pool in
      let first = pool.execute(get, on: server.address, deadline: .soon)
      try await eventually("it arrives") { server.arrivals.count == 1 }
      for _ in 0..<20 {
        // Cancelled before it begins, while it begins, or while it waits: whichever it is, its place is free.
        let task = Task { try await pool.answer(to: put, on: server.address, deadline: .soon) }
        if Bool.random() { await Task.yield() }
        task.cancel()
        await fails(task, with: .neverSent(server.address, .cancelled))
      }
      let last = pool.execute(get, on: server.address, deadline: .soon)
      for _ in 0..<2 { try await server.release(1) }
      try await expect(first, toGiveStatus: 200)
      try await expect(last, toGiveStatus: 200)
      #expect(server.arrivals.count == 2 && server.connectionCount == 1)
    }
  }

  private static func expectAnsweredOrCancelled(_ result: Result<KVResponse, any Error>) {
    switch result {
    case .success(let answer): #expect(answer.status == 200)
    case .failure(let error):
      switch error as? KVClientError {
      case .neverSent(_, .cancelled), .outcomeUnknown(_, .cancelled, .GET): break
      default: Issue.record("\(error)")
      }
    }
  }

  @Test("leaves nothing behind, whenever that is")
  func anyMoment() async throws {
    let limits = KVLimits(connectionsPerNodeMax: 4, waitingPerNodeMax: 64)
    try await withServer(limits: limits, { _ in [.answer()] }) { server, pool in
      for round in 0..<300 {
        let task = Task { try await pool.answer(to: get, on: server.address, deadline: .soon) }
        for _ in 0..<(round % 17) { await Task.yield() }
        task.cancel()
        Self.expectAnsweredOrCancelled(await task.result)
      }
      // The places are all given back.
      try await eventually("they are") { pool.heldPlaces == 0 }
      let answers = (0..<68).map { _ in pool.execute(get, on: server.address, deadline: .soon) }
      for answer in answers { try await expect(answer, toGiveStatus: 200) }
    }
  }
}
