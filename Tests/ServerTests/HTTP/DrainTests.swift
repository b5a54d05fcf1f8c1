import Testing

/// What a node does that is told to stop.
@Suite struct DrainTests {
  @Test(arguments: ConfiguredLane.allCases)
  func whatWasAcknowledgedIsThereAfterwards(lane: ConfiguredLane) async throws {
    let node = try await RunningNode.start(lane) { $0.syncPolicy = .always }
    let clients = try (0..<4).map { _ in try node.connect() }
    for (index, client) in clients.enumerated() {
      for number in 0..<200 { try client.send("PUT", "/kv/\(index)-\(number)", body: "v") }
    }
    // In the middle of it.
    for client in clients { try await #expect(client.answer().status == 201) }
    async let stopping: Void = node.stop()
    var acknowledged: [String] = []
    for (index, client) in clients.enumerated() {
      acknowledged.append("\(index)-0")
      var number = 1
      var isLast = false
      while !isLast, number < 200 {
        guard let answer = try await Self.next(client) else { break }
        #expect(answer.status == 201)
        acknowledged.append("\(index)-\(number)")
        isLast = answer["connection"] == "close"
        number += 1
      }
    }
    try await stopping
    let again = try await node.reopened()
    let client = try again.connect()
    for key in acknowledged { try await #expect(client.ask("GET", "/kv/" + key).status == 200) }
    try await again.stop()
  }

  /// A process that another test starts has the listening socket, too, until it becomes another
  /// program, and until then the system takes connections for it.
  private static func requireRefusal(by node: RunningNode) async throws {
    let deadline = ContinuousClock.now + .seconds(10)
    while (try? node.connect()) != nil {
      try #require(ContinuousClock.now < deadline, "it still takes connections")
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// The next answer; nil where the connection ended between two.
  private static func next(_ client: ClientConnection) async throws -> ClientAnswer? {
    do {
      return try await client.answer()
    } catch ClientConnection.Failure.ended(after: "") {
      return nil
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whatHasBegunIsDoneAndNothingNewIsTaken(lane: ConfiguredLane) async throws {
    let node = try await RunningNode.start(lane)
    let idle = try node.connect()
    try await #expect(idle.ask("GET", "/health").status == 200)
    let silent = try node.connect()
    let writing = try node.connect()
    try writing.send("PUT", "/kv/a", ["Content-Length: 5"])
    try writing.send("val")
    let asking = try node.connect()
    try asking.send("GET /ready HTTP/1.1\r\nHo")
    // What has come to the node before the stop, it has begun.
    let last = try node.connect()
    try await #expect(last.ask("GET", "/health").status == 200)
    async let stopping: Void = node.stop()
    // Nothing is in progress on these.
    try await #expect(idle.isEnded())
    try await #expect(silent.isEnded())
    try await #expect(last.isEnded())
    try await Self.requireRefusal(by: node)
    try writing.send("ue")
    let written = try await writing.answer()
    #expect(written.status == 201 && written["connection"] == "close")
    try await #expect(writing.isEnded())
    try asking.send("st: x\r\n\r\n")
    let ready = try await asking.answer()
    #expect(ready.status == 503 && ready["connection"] == "close")
    try await #expect(asking.isEnded())
    try await stopping
    let again = try await node.reopened()
    try await #expect(again.ask("GET", "/kv/a").text == "value")
    try await again.stop()
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whoeverIsBeingAnsweredIsLetGoBehindTheAnswer(lane: ConfiguredLane) async throws {
    let node = try await RunningNode.start(lane)
    let client = try node.connect()
    let value = String(repeating: "v", count: 8 << 20)
    try await #expect(client.ask("PUT", "/kv/a", body: value).status == 201)
    try client.send("GET", "/kv/a")
    let watcher = try node.connect()
    while try await !watcher.ask("GET", "/metrics").text.contains("shiplog_answer_bytes 8388608\n")
    {}
    async let stopping: Void = node.stop()
    try await #expect(watcher.isEnded())
    try await #expect(client.answer().body.count == value.count)
    // Before the sixty seconds that the stop would wait.
    try await #expect(client.isEnded())
    try await stopping
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whoeverWaitsForASnapshotIsToldThatThereIsNone(lane: ConfiguredLane) async throws {
    // As much as takes minutes at that rate.
    let node = try await RunningNode.start(lane) { $0.snapshotBytesPerSecond = 64 << 10 }
    let client = try node.connect()
    let value = String(repeating: "v", count: 4 << 20)
    for number in 0..<4 {
      try await #expect(client.ask("PUT", "/kv/\(number)", body: value).status == 201)
    }
    try client.send("POST", "/admin/snapshot")
    let watcher = try node.connect()
    while try await !watcher.ask("GET", "/status").text.contains("\"progress\"") {}
    async let stopping: Void = node.stop()
    let answer = try await client.answer()
    #expect(answer.status == 503 && answer.text.contains("stopping"), "\(answer.text)")
    try await stopping
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whoeverDoesNotEndIsCutOff(lane: ConfiguredLane) async throws {
    let node = try await RunningNode.start(lane) { $0.limits.drainSeconds = 1 }
    let slow = try node.connect()
    try slow.send("PUT", "/kv/a", ["Content-Length: 5"])
    let last = try node.connect()
    try await #expect(last.ask("GET", "/health").status == 200)
    try await node.stop()
    try await #expect(slow.isEnded())
    let again = try await node.reopened()
    try await #expect(again.ask("GET", "/kv/a").status == 404)
    try await again.stop()
  }
}
