import Glibc
import Testing

@Suite struct WatchRouteTests {
  /// Writes of all kinds, and the lines that they make.
  private static func write(_ node: RunningNode) async throws -> [String] {
    let client = try node.connect()
    var lines: [String] = []
    func wrote(_ answer: ClientAnswer, _ line: String) throws {
      let version = try #require(answer["x-kv-version"])
      lines.append("{\"seq\":\(version),\(line)}")
    }
    for number in 0..<20 {
      try wrote(
        try await client.ask("PUT", "/kv/w\(number)", body: "value \(number)"),
        #""op":"put","key":"w\#(number)","value":"value \#(number)""#)
      try wrote(
        try await client.ask("GET", "/set?key=other\(number)&value=%ff"),
        #""op":"put","key":"other\#(number)","value_base64":"/w==""#)
      if number % 3 == 0 {
        try wrote(
          try await client.ask("DELETE", "/kv/w\(number)"), #""op":"delete","key":"w\#(number)""#)
      }
    }
    return lines
  }

  private static func sequence(_ line: String) -> UInt64 {
    UInt64(line.dropFirst(7).prefix { $0.isNumber })!
  }

  @Test(arguments: ConfiguredLane.allCases)
  func everyChangeComesFromAnyNumberOnAndThenTheNewOnes(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let lines = try await Self.write(node)
      var watchers: [WatchClient] = []
      for from in 1...Self.sequence(lines.last!) + 1 {
        let watcher = try await WatchClient(node, "?from=\(from)")
        #expect(
          watcher.head.status == 200 && watcher.head["content-type"] == "application/x-ndjson")
        #expect(watcher.head["x-kv-epoch"]?.hasPrefix("1-") == true)
        let expected = lines.filter { Self.sequence($0) >= from }
        try await #expect(watcher.lines(expected.count) == expected)
        watchers.append(watcher)
      }
      let more = try await Self.write(node)
      for watcher in watchers { try await #expect(watcher.lines(more.count) == more) }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func withoutANumberOnlyWhatComesNextIsTold(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      _ = try await Self.write(node)
      let watcher = try await WatchClient(node, "")
      let some = try await WatchClient(node, "?prefix=w1")
      let lines = try await Self.write(node)
      try await #expect(watcher.lines(lines.count) == lines)
      let expected = lines.filter { $0.contains(#""key":"w1"#) }
      try await #expect(some.lines(expected.count) == expected)
      // One that is not there yet is waited for.
      let next = Self.sequence(lines.last!) + 3
      let late = try await WatchClient(node, "?from=\(next)&prefix=w")
      let last = try await Self.write(node)
      let wanted = last.filter { Self.sequence($0) >= next && $0.contains(#""key":"w"#) }
      try await #expect(late.lines(wanted.count) == wanted)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aBatchIsALineForEachOfItsOperations(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let watcher = try await WatchClient(node, "")
      let batch =
        #"{"op":"put","key":"a","value":"1"}"# + "\n" + #"{"op":"delete","key":"b"}"# + "\n"
      let answer = try await node.ask("POST", "/batch", body: batch)
      let version = try #require(answer["x-kv-version"].flatMap { UInt64($0) })
      try await #expect(
        watcher.lines(2) == [
          #"{"seq":\#(version - 1),"op":"put","key":"a","value":"1"}"#,
          #"{"seq":\#(version),"op":"delete","key":"b"}"#,
        ])
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aLargeValueComesWhole(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let early = try await WatchClient(node, "?prefix=large")
      let value = String(repeating: #"a "quoted" é "#, count: 300_000)
      try await #expect(node.ask("PUT", "/kv/large", body: value).status == 201)
      try await #expect(node.ask("PUT", "/kv/last", body: "x").status == 201)
      let late = try await WatchClient(node, "?from=1")
      let text = value.replacing("\"", with: "\\\"")
      for watcher in [early, late] {
        let line = try #require(try await watcher.line())
        #expect(line.hasSuffix(#","op":"put","key":"large","value":"\#(text)"}"#))
      }
    }
  }

  // MARK: - Refusals

  @Test(arguments: ConfiguredLane.allCases)
  func badParametersAreRefused(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let long = String(repeating: "p", count: 4_097)
      for query in [
        "from=0", "from=", "from=x", "from=-1", "from=1.5", "from=18446744073709551616",
        "from=4611686018427387904", "from=1&epoch=", "from=1&epoch=1", "from=1&epoch=1-",
        "from=1&epoch=1-7", "from=1&epoch=01-00000000000a11ce", "from=1&prefix=%zz",
        "from=1&prefix=\(long)", "from=1&w=2", "from=1&min_version=x",
      ] {
        let watcher = try await WatchClient(node, "?" + query)
        #expect(watcher.head.status == 400, "\(query)")
        #expect(watcher.head.text.hasPrefix("{\"error\":"))
      }
      try await #expect(node.ask("GET", "/metrics").text.contains("shiplog_watchers 0\n"))
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func anotherHistoryIs409(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let lines = try await Self.write(node)
      let last = Self.sequence(lines.last!)
      let first = try await WatchClient(node, "?from=1")
      let epoch = try #require(first.head["x-kv-epoch"])
      let node16 = epoch.suffix(16)
      // What precedes `from` has to be here, and of that epoch.
      for query in [
        "from=\(last + 100)&epoch=\(epoch)", "from=1&epoch=2-\(node16)",
        "from=2&epoch=1-0000000000000001", "epoch=9-\(node16)",
      ] {
        let watcher = try await WatchClient(node, "?" + query)
        #expect(watcher.head.status == 409, "\(query)")
        #expect(watcher.head.text.hasPrefix("{\"error\":"))
      }
      for query in ["from=1&epoch=\(epoch)", "from=\(last + 1)&epoch=\(epoch)", "epoch=\(epoch)"] {
        try await #expect(WatchClient(node, "?" + query).head.status == 200, "\(query)")
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whatIsNoLongerInTheLogIs410(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      for number in 0..<40 {
        let value = String(repeating: "v", count: 1_000)
        try await #expect(node.ask("PUT", "/kv/\(number)", body: value).status == 201)
      }
      let oldest = try Self.retire(node)
      for from in [1, oldest - 1] {
        let watcher = try await WatchClient(node, "?from=\(from)")
        #expect(watcher.head.status == 410)
        #expect(watcher.head.text.hasPrefix("{\"error\":"))
        #expect(watcher.head.text.hasSuffix(",\"oldest\":\(oldest)}"))
      }
      let watcher = try await WatchClient(node, "?from=\(oldest)")
      #expect(try await watcher.line().map(Self.sequence) == oldest)
      // Without a number nothing of it is needed.
      try await #expect(WatchClient(node, "").head.status == 200)
    }
  }

  /// Removes the older half of the segments, and returns the first number that is left.
  private static func retire(_ node: RunningNode) throws -> UInt64 {
    let directory = node.dataDirectory + "/wal"
    let stream = try #require(opendir(directory))
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name.hasSuffix(".wal") { names.append(name) }
    }
    names.sort()
    let kept = names.count / 2
    for name in names[..<kept] { #expect(unlink("\(directory)/\(name)") == 0) }
    return UInt64(names[kept].dropLast(4))!
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aFeedWhoseLogGoesAwaySaysSoInItsLastLine(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      // More than the system takes for a client that does not read.
      let value = String(repeating: "v", count: 20_000)
      let line = #"{"op":"put","key":"key","value":"\#(value)"}"# + "\n"
      let batch = String(repeating: line, count: 100)
      var written: [UInt64] = []
      for _ in 0..<15 {
        let answer = try await client.ask("POST", "/batch", body: batch)
        let last = try #require(answer["x-kv-version"].flatMap { UInt64($0) })
        written += last - 99...last
      }
      let watcher = try await WatchClient(node, "?from=1")
      _ = try await watcher.line()
      let oldest = try Self.retire(node)
      let lines = try await watcher.linesToEnd()
      // What it had before is there, in order; then it says what is wrong, and ends in order.
      let end = try #require(lines.last)
      #expect(end.hasPrefix("{\"error\":"), "\(end)")
      let said = end.split(separator: ":").last.flatMap { UInt64($0.dropLast()) }
      // They were going while it looked.
      #expect(try #require(said, "\(end)") <= oldest)
      let sequences = lines.dropLast().map(Self.sequence)
      #expect(sequences.count < written.count)
      #expect(sequences == Array(written.dropFirst().prefix(sequences.count)))
      try await #expect(watcher.connection.isEnded())
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aFeedWhoseLogGoesAwayWithinAValueIsCutOff(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let value = String(repeating: "v", count: 15 << 20)
      for key in ["a", "b", "c", "d"] {
        try await #expect(node.ask("PUT", "/kv/\(key)", body: value).status == 201)
      }
      let watcher = try await WatchClient(node, "?from=1")
      _ = try await watcher.connection.chunk()
      _ = try Self.retire(node)
      // What has come looks like no end, and no line is shorter than it was.
      do {
        while let line = try await watcher.line() { #expect(line.utf8.count > value.utf8.count) }
        Issue.record("it ended in order")
      } catch ClientConnection.Failure.ended {}
      try await #expect(WatchClient(node, "?from=1").head.status == 410)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func oneWatcherTooManyIs503UntilAnotherIsGone(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.watchersMax = 2 }) { node in
      let first = try await WatchClient(node, "")
      var second: WatchClient? = try await WatchClient(node, "?from=1")
      #expect(first.head.status == 200 && second?.head.status == 200)
      let third = try await WatchClient(node, "")
      #expect(third.head.status == 503 && third.head["retry-after"] == "1")
      try await #expect(node.ask("GET", "/metrics").text.contains("shiplog_watchers 2\n"))
      second = nil
      while try await WatchClient(node, "").head.status != 200 {}
      withExtendedLifetime(first) {}
    }
  }

  // MARK: - The connection

  @Test(arguments: ConfiguredLane.allCases)
  func anIdleFeedSendsEmptyLines(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.watchIdleSeconds = 1 }) { node in
      let watcher = try await WatchClient(node, "?prefix=a")
      try await #expect(watcher.connection.chunk() == [10])
      try await #expect(watcher.connection.chunk() == [10])
      try await #expect(node.ask("PUT", "/kv/a", body: "v").status == 201)
      try await #expect(watcher.line()?.hasSuffix(#""key":"a","value":"v"}"#) == true)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aClientThatEndsItsSideGetsWhatThereIs(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let lines = try await Self.write(node)
      let watcher = try await WatchClient(node, "?from=1")
      watcher.connection.endOutput()
      try await #expect(watcher.linesToEnd() == lines)
      try await #expect(watcher.connection.isEnded())
      while try await !node.ask("GET", "/metrics").text.contains("shiplog_watchers 0\n") {}
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func withoutChunksTheFeedIsTheRestOfTheConnection(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let lines = try await Self.write(node)
      let client = try node.connect()
      try client.send("GET /watch?from=1 HTTP/1.0\r\n\r\n")
      let head = try await client.head()
      #expect(head.status == 200 && head["transfer-encoding"] == nil)
      #expect(head["connection"] == "close")
      let text = lines.joined(separator: "\n") + "\n"
      try await #expect(client.bytes(text.utf8.count) == Array(text.utf8))
      let asking = try node.connect()
      let answer = try await asking.ask("HEAD", "/watch?from=1")
      #expect(answer.status == 200 && answer["x-kv-epoch"] != nil)
      try await #expect(asking.isEnded())
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aStopEndsFeedsInOrderAndBehindAWholeLine(lane: ConfiguredLane) async throws {
    let node = try await RunningNode.start(lane)
    let value = String(repeating: "v", count: 15 << 20)
    for key in ["a", "b", "c"] {
      try await #expect(node.ask("PUT", "/kv/\(key)", body: value).status == 201)
    }
    let idle = try await WatchClient(node, "")
    // Within the first value: the system does not take all of it.
    let slow = try await WatchClient(node, "?from=1")
    async let stopping: Void = node.stop()
    try await #expect(idle.linesToEnd() == [])
    try await #expect(idle.connection.isEnded())
    let lines = try await slow.linesToEnd()
    #expect(lines.count == 1 && lines[0].hasSuffix(#""key":"a","value":"\#(value)"}"#))
    try await #expect(slow.connection.isEnded())
    try await stopping
  }
}
