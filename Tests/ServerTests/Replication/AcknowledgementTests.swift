import Server
import Testing
import WAL

@Suite("An acknowledgement") struct AcknowledgementTests {
  private static func write(_ node: RunningNode, _ count: Int) async throws {
    let client = try node.connect()
    let line = #"{"op":"put","key":"k","value":"v"}"# + "\n"
    for _ in 0..<count {
      try await #expect(client.ask("POST", "/batch", body: line + line).status == 200)
    }
  }

  @Test("of any frame of this history is taken, and moves what the node shows")
  func taken() async throws {
    try await RunningNode.with(.fast) { node in
      try await Self.write(node, 10)
      let log = try node.log()
      for frame in log {
        let position = frame.header.position
        try await #expect(node.acknowledge(position, by: "r").status == 204)
        try await node.awaitStatus(#""durable":\#(position.sequence),"id":"r""#)
      }
      // An older one that comes late changes nothing.
      try await #expect(node.acknowledge(log[1].header.position, by: "r").status == 204)
      let status = try await node.ask("GET", "/status").text
      #expect(status.contains(#""durable":\#(log.last!.header.lastSequence),"id":"r""#))
      #expect(status.contains(#""lag_bytes":"#) && status.contains(#""member":false"#))
      #expect(status.contains(#""address":null"#) && status.contains(#""state":"offline""#))
    }
  }

  /// Acknowledges as a node does that is called by its address.
  private static func acknowledge(
    _ position: LogPosition, _ node: RunningNode, over client: ClientConnection
  ) async throws -> ClientAnswer {
    var reader = try LogReader(directory: node.dataDirectory + "/wal")
    _ = try reader.next()
    let found = reader.origin
    let origin = try #require(found)
    return try await client.ask(
      "POST",
      "/wal/ack?replica=127.0.0.1%3A8081&epoch=\(position.epoch.text)&seq=\(position.sequence)"
        + "&crc=\(hexadecimal(position.crc))&origin=\(hexadecimal(origin))")
  }

  @Test("of a position in memory goes by the fast lane, from wherever its connection has gone")
  func lanes() async throws {
    let first = try await RunningNode.start(.fast)
    try await Self.write(first, 3)
    // Not the last: that is known at once behind a start.
    let old = try #require(try first.log().first).header.position
    try await first.stop()
    let node = try await first.reopened()
    try await Self.write(node, 2)
    let new = try #require(try node.log().last { $0.header.recordCount == 2 }).header.position
    let name = "shiplog_connections_standard_total "
    let reader = try node.connect()
    func count() async throws -> Int {
      let lines = try await reader.ask("GET", "/metrics").text.split(separator: "\n")
      return try #require(
        lines.first { $0.hasPrefix(name) }.flatMap { Int($0.dropFirst(name.count)) })
    }
    let before = try await count()
    for _ in 0..<3 {
      let answer = try await Self.acknowledge(new, node, over: node.connect())
      #expect(answer.status == 204 && answer["connection"] == nil)
    }
    try await #expect(count() == before)
    // Only the files know that one: its connection stays where that is looked up, until it need not.
    let client = try node.connect()
    for _ in 0..<2 {
      let answer = try await Self.acknowledge(old, node, over: client)
      #expect(answer.status == 204 && answer["connection"] == nil)
    }
    let last = try await Self.acknowledge(new, node, over: client)
    #expect(last.status == 204 && last["connection"] == "close")
    try await #expect(count() == before + 1)
    try await node.awaitStatus(#""id":"127.0.0.1:8081""#)
    try await node.stop()
  }

  @Test("of what was written before the node started is found in the files")
  func fromFiles() async throws {
    let first = try await RunningNode.start(.fast)
    try await Self.write(first, 10)
    try await first.stop()
    let node = try await first.reopened()
    let log = try node.log()
    for frame in log {
      try await #expect(node.acknowledge(frame.header.position, by: "r").status == 204)
      var other = frame.header.position
      other.crc ^= 1
      try await #expect(node.acknowledge(other, by: "r").status == 409)
    }
    try await node.stop()
  }

  @Test("of another history is refused, and changes nothing")
  func refused() async throws {
    try await RunningNode.with(.fast) { node in
      try await Self.write(node, 3)
      let frames = try node.log()
      let position = try #require(frames.last { $0.header.recordCount == 2 }).header.position
      var other = position
      other.crc ^= 1
      var late = position
      late.sequence += 1_000
      var within = position
      within.sequence -= 1
      var foreign = position
      foreign.epoch.number = 2
      for wrong in [other, late, within, foreign] {
        let answer = try await node.acknowledge(wrong, by: "r")
        #expect(answer.status == 409, "\(wrong)")
        #expect(answer.text.contains(#","epochs":[[1,"#) && answer.text.contains(#""oldest":1,"#))
      }
      let answer = try await node.acknowledge(position, by: "r", "&origin=0000000000000001")
      #expect(answer.status == 409)
      try await #expect(!node.ask("GET", "/status").text.contains(#""id":"r""#))
    }
  }

  @Test("that is not whole, or this node's own, is no request")
  func malformed() async throws {
    try await RunningNode.with(.fast) { node in
      let right = "epoch=1-00000000000a11ce&seq=1&crc=00000001"
      for query in [
        "", right, "replica=r&seq=1&crc=00000001", "replica=r&epoch=1-00000000000a11ce&seq=1",
        "replica=r&epoch=1-00000000000a11ce&crc=00000001", "replica=node&" + right,
        "replica=r&epoch=1&seq=1&crc=00000001", "replica=r&epoch=1-00000000000a11ce&seq=x&crc=1",
      ] {
        try await #expect(node.ask("POST", "/wal/ack?" + query).status == 400, "\(query)")
      }
      try await #expect(node.ask("GET", "/wal/ack?" + right).status == 405)
      try await #expect(node.ask("POST", "/wal/stream?from=1").status == 405)
    }
  }

  @Test("keeps no log where it says that nothing more is needed, and its absence keeps it")
  func retention() async throws {
    let members = ["node", "b"].map { Member(id: $0, address: "127.0.0.1:1") }
    func configure(_ configuration: inout Configuration) { configuration.members = members }
    try await RunningNode.with(.fast, configure) { node in
      for _ in 0..<3 {
        try await Self.write(node, 60)
        try await #expect(node.ask("POST", "/admin/snapshot").status == 200)
      }
      try await #expect(node.ask("GET", "/status").text.contains(#""oldest_sequence":1,"#))
      try await #expect(!node.ask("GET", "/metrics").text.contains("shiplog_wal_held_bytes 0\n"))
      let end = try #require(try node.log().last).header.position
      try await #expect(node.acknowledge(end, by: "b").status == 204)
      for _ in 0..<2 {
        try await Self.write(node, 60)
        try await #expect(node.ask("POST", "/admin/snapshot").status == 200)
      }
      let status = try await node.ask("GET", "/status").text
      let oldest = try #require(
        status.split(separator: #""oldest_sequence":"#).last.flatMap { text in
          UInt64(text.prefix { $0.isNumber })
        })
      #expect(oldest > 1 && oldest <= end.sequence + 1)
      let client = try await LogStreamClient(node, end.query("from", offset: 1))
      #expect(client.head.status == 200)
    }
  }

  @Test("has not come from who copies a snapshot, which is shown as that")
  func copying() async throws {
    try await RunningNode.with(.fast) { node in
      try await Self.write(node, 3)
      try await #expect(node.ask("POST", "/admin/snapshot").status == 200)
      try await #expect(node.ask("GET", "/snapshot?replica=copy").status == 200)
      let status = try await node.ask("GET", "/status").text
      #expect(status.contains(#""durable":null,"id":"copy","lag_bytes":null"#))
      #expect(status.contains(#""state":"copying""#))
    }
  }

  @Test("and a stream are what the metrics of a replica are made of")
  func metrics() async throws {
    try await RunningNode.with(.fast) { node in
      try await Self.write(node, 3)
      try await #expect(!node.ask("GET", "/metrics").text.contains("shiplog_replica_"))
      let client = try await LogStreamClient(node, "from=1&replica=r")
      try await node.awaitStatus(#""state":"streaming""#)
      var text = try await node.ask("GET", "/metrics").text
      #expect(text.contains(#"shiplog_replica_state{replica="r",state="streaming"} 1"#))
      #expect(text.contains(#"shiplog_replica_lag_records{replica="r"} NaN"#))
      #expect(text.contains("shiplog_log_streams 1\n"))
      let end = try #require(try node.log().last).header.position
      try await #expect(node.acknowledge(end, by: "r").status == 204)
      // The mark of the quiet log may come in between.
      text = try await node.ask("GET", "/metrics").text
      #expect(
        text.contains(#"shiplog_replica_lag_records{replica="r"} 0"#)
          || text.contains(#"shiplog_replica_lag_records{replica="r"} 1"#))
      withExtendedLifetime(client) {}
    }
  }
}
