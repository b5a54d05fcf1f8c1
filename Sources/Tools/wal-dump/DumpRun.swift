import ArgumentParser
import Engine
import WAL

/// What a command line asks for, done.
struct DumpRun {
  private let command: DumpCommand
  private let filter: RecordFilter

  init(_ command: DumpCommand) {
    self.command = command
    filter = command.filter
  }

  /// - Returns: the exit code.
  func run() throws -> Int32 {
    var places = try LogPlaces(
      command.paths, includesSnapshots: command.verify || command.stats
    ).places
    if let origin = command.origin {
      places = places.filter { lastComponent($0.name) == origin.lowercased() }
      guard !places.isEmpty else {
        throw DumpError.message(
          "there is no log \(origin) in \(command.paths.joined(separator: ", "))")
      }
    }
    if let other = command.diff {
      var difference = LogDifference(
        try cursor(places, command.paths[0]), try cursor(try self.places(of: other), other),
        showsValues: command.values)
      return try difference.run()
    }
    if command.verify {
      var sink = NoSink()
      return try dump(places, into: &sink)
    }
    if command.stats {
      var sink = Statistics(
        filter: filter, isJSON: command.json,
        nowMilliseconds: LogClock.system.wallMilliseconds())
      return try dump(places, into: &sink)
    }
    var sink = RecordPrinter(
      filter: filter, isJSON: command.json, showsValues: command.values)
    if command.follow { return try follow(try single(places, command.paths[0]), into: &sink) }
    return try dump(places, into: &sink)
  }

  private func places(of path: String) throws(DumpError) -> [LogPlace] {
    let places = try LogPlaces([path]).places
    guard let origin = command.origin else { return places }
    return places.filter { lastComponent($0.name) == origin.lowercased() }
  }

  private func cursor(_ places: [LogPlace], _ path: String) throws -> LogCursor {
    try LogCursor(try single(places, path), from: filter.from, to: filter.to)
  }

  private func single(_ places: [LogPlace], _ path: String) throws -> LogPlace {
    guard places.count == 1 else {
      throw ValidationError("\(path) holds \(places.count) logs. Name one of them")
    }
    if case .snapshot = places[0].content {
      throw ValidationError("\(path) is a snapshot. Name a log")
    }
    return places[0]
  }

  /// Reads every log to its end. One that cannot be read does not keep the others from it.
  private func dump<Sink: FrameSink & ~Copyable>(
    _ places: [LogPlace], into sink: inout Sink
  ) throws(DumpError) -> Int32 {
    var code = Exit.clean
    for place in places {
      do throws(DumpError) {
        sink.begin(place.name, isOneOfSeveral: places.count > 1)
        code = max(code, try dump(place, into: &sink))
      } catch {
        guard case .log(let cause) = error else { throw error }
        sink.pause()
        System.writeLine("wal-dump: \(cause)")
        code = max(code, Exit.unreadable)
      }
    }
    return code
  }

  private func dump<Sink: FrameSink & ~Copyable>(
    _ place: LogPlace, into sink: inout Sink
  ) throws(DumpError) -> Int32 {
    if case .snapshot(let path) = place.content {
      return try SnapshotReading(
        path, isVerified: command.verify, showsProgress: showsProgress
      ).run(into: &sink)
    }
    if case .standardInput = place.content {
      var source = StreamWalk(to: filter.to, isFollowing: false)
      var reading = reading(place, totalBytes: 0)
      try reading.run(&source, into: &sink)
      conclude(reading)
      return reading.verdict.code
    }
    var source = try LogWalk(place, from: filter.from, to: filter.to)
    var reading = reading(place, totalBytes: try source.measure())
    try reading.run(&source, into: &sink)
    var isInUse = source.isInUse
    if command.verify, !isInUse { isInUse = try place.isInUse() }
    reading.note(isInUse: isInUse)
    conclude(reading)
    return reading.verdict.code
  }

  /// Not where lines are running over the screen.
  private var showsProgress: Bool {
    !command.follow
      && (command.verify || command.stats || !System.isTerminal(System.standardOutput))
  }

  private func reading(_ place: LogPlace, totalBytes: UInt64) -> Reading {
    Reading(
      log: place.name, totalBytes: totalBytes, showsProgress: showsProgress,
      damageDescriptor: command.verify ? System.standardOutput : System.standardError)
  }

  /// The last word on a log.
  private func conclude(_ reading: borrowing Reading) {
    let verdict = reading.verdict
    if command.verify, verdict.code == Exit.clean {
      System.writeLine(
        verdict.cleanLine(seconds: reading.seconds), to: System.standardOutput)
    } else if verdict.isInUse, verdict.code != Exit.clean {
      let hint = verdict.code == Exit.torn ? ": what is torn may be a write in progress" : ""
      System.writeLine(
        "\(verdict.log): in use\(hint)",
        to: command.verify ? System.standardOutput : System.standardError)
    } else if verdict.frames == 0, verdict.segments == 0, verdict.code == Exit.clean,
      verdict.log != LogPlace.standardInputName
    {
      System.writeLine(
        "\(verdict.log): the log is empty: there are no segments" + snapshotHint(verdict))
    }
  }

  /// Where else to look in a directory whose log is empty.
  private func snapshotHint(_ verdict: Verdict) -> String {
    let found: String?
    do {
      found = try SnapshotDirectory(verdict.log).list().first?.path
    } catch {
      found = nil
    }
    return found.map { "; the state is in \($0)" } ?? ""
  }

  private func follow(
    _ place: LogPlace, into sink: inout RecordPrinter
  ) throws -> Int32 {
    System.catchStopSignals()
    var reading = reading(place, totalBytes: 0)
    switch place.content {
    case .standardInput:
      var source = StreamWalk(to: filter.to, isFollowing: true)
      try reading.run(&source, into: &sink)
    case .directory(let directory):
      var source = try FollowWalk(directory, from: filter.from, to: filter.to)
      try reading.run(&source, into: &sink)
    case .files, .snapshot:
      throw ValidationError("--follow takes a directory or -: nothing appears behind a file")
    }
    return reading.verdict.code
  }
}
