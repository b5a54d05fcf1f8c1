/// Heals a log: fills its holes with frames from elsewhere, and writes the damaged files anew.
///
/// For each stretch of files that cannot stay, one after the other:
///
/// 1. The frames of its holes are fetched, checked, and synced in a file of their own (`hole-N.tmp`). They
///    have to go on from the frame before, and what is behind has to name the last of them.
/// 2. The segments are written anew under temporary names, synced, and read again from first to last.
/// 3. The damaged files are copied to `quarantine/`, durably.
/// 4. The new segments get their names, the last one first: frames that stood in the wrong file are in
///    the right one before that is replaced. Then files go there that no frame belongs to.
///
/// Up to 4 nothing has changed that a reader of the log sees; interrupted at any point, it can be begun
/// anew: what ends in `.tmp` means nothing, and every name is given to a whole file.
package struct LogRepair {
  package struct Options: Sendable {
    package var directory: String
    package var quarantineDirectory: String
    /// Whether an end may be taken over that nothing vouches for.
    package var takesUnknownEnd = false
    /// True for a log whose frames all come from another node: its end is that one's.
    package var isCopy = false
    /// Segments are not made larger than that, where the log's own files do not say it.
    package var segmentBytesMax: UInt64 = Format.segmentBytesDefault
    /// The first sequence numbers of files that should be there, beside those that are.
    package var names: Set<UInt64> = []
    package var fileSystem: any FileSystem = SystemFileSystem()

    package init(directory: String, quarantineDirectory: String) {
      self.directory = directory
      self.quarantineDirectory = quarantineDirectory
    }
  }

  /// A stretch of the log that is whole again.
  package struct Healed: Hashable, Sendable {
    /// The segments that were written.
    package var paths: [String]
    /// Where the damaged files are.
    package var keptPaths: [String]
    /// The sequence numbers that came from elsewhere; nil where nothing was missing but a header.
    package var sequences: ClosedRange<UInt64>?
    package var sources: [String]
    /// Of the frames that came from there.
    package var bytes: UInt64
    /// True when nothing but the source says where the log ends.
    package var hasUnknownEnd: Bool
    package var damage: [Damage]
  }

  /// A hole that is still there.
  package struct Unhealed: Hashable, Sendable {
    package var first: UInt64
    /// Nil where nothing says how far it goes.
    package var through: UInt64?
    package var damage: Damage
    /// Why not: a line for each source.
    package var reasons: [String]

    package init(first: UInt64, through: UInt64?, damage: Damage, reasons: [String]) {
      self.first = first
      self.through = through
      self.damage = damage
      self.reasons = reasons
    }
  }

  package struct Result: Sendable {
    package var healed: [Healed] = []
    package var unhealed: [Unhealed] = []
  }

  private struct Part {
    var path: String
    var bytes: UInt64
    var source: String
    var last: UInt64?
  }

  private struct Group {
    var items: [LogExamination.Item] = []
    var reachesEnd = false
    /// The first sequence number of what is behind it.
    var next: UInt64?
  }

  private let options: Options
  private let found: LogExamination
  private let origin: UInt64
  private let sources: [any FrameSource]
  private let check: () throws(WALError) -> Void
  private var fileSystem: any FileSystem { options.fileSystem }
  /// For files that may be damaged: the sectors beside one that cannot be read can be.
  private var readable: UnreadableAsZeros { UnreadableAsZeros(fileSystem: fileSystem) }

  /// - Parameters:
  ///   - found: what is in the directory now.
  ///   - sources: asked in this order.
  ///   - check: called now and then; what it throws ends the work, at a point where it can be begun anew.
  /// - Throws: `diskFull`, or that of a system call.
  package static func run(
    _ found: LogExamination, _ options: Options, sources: [any FrameSource],
    check: @escaping () throws(WALError) -> Void
  ) throws(WALError) -> Result {
    guard let origin = found.origin else { return Result() }
    let repair = LogRepair(
      options: options, found: found, origin: origin, sources: sources, check: check)
    do {
      return try repair.run()
    } catch {
      throw error.isNoSpace ? .diskFull(path: options.directory) : error
    }
  }

  private init(
    options: Options, found: LogExamination, origin: UInt64, sources: [any FrameSource],
    check: @escaping () throws(WALError) -> Void
  ) {
    self.options = options
    self.found = found
    self.origin = origin
    self.sources = sources
    self.check = check
  }

  private func run() throws(WALError) -> Result {
    var result = Result()
    var placed: Set<String> = []
    var isWhole = true
    for group in groups() {
      guard let healed = try heal(group, &result.unhealed) else {
        isWhole = false
        continue
      }
      placed.formUnion(healed.paths)
      result.healed.append(healed)
    }
    // What an unhealed hole left behind may be in any of them.
    if isWhole { try putAwayRest(placed, &result) }
    return result
  }

  /// Runs of what cannot stay where it is.
  private func groups() -> [Group] {
    let good = Set(found.files.filter(\.isGood).map(\.segment.path))
    var groups: [Group] = []
    var group = Group()
    for item in found.items {
      if case .frames(let stretch) = item, good.contains(stretch.path) {
        group.next = stretch.before.sequence + 1
        if !group.items.isEmpty { groups.append(group) }
        group = Group()
      } else {
        group.items.append(item)
      }
    }
    group.reachesEnd = true
    if !group.items.isEmpty { groups.append(group) }
    return groups
  }

  // MARK: - One group

  private func heal(
    _ group: Group, _ unhealed: inout [Unhealed]
  ) throws(WALError) -> Healed? {
    var parts: [UInt64: Part] = [:]
    defer { for part in parts.values { discard(part.path) } }
    var isComplete = true
    for case .hole(let hole) in group.items {
      var reasons: [String] = []
      if let part = try fetch(hole, &reasons) {
        parts[hole.first] = part
      } else {
        isComplete = false
        unhealed.append(
          Unhealed(
            first: hole.first, through: hole.end?.sequence, damage: hole.damage, reasons: reasons))
      }
    }
    guard isComplete else { return nil }
    let drafts = try assemble(group, parts)
    defer { for draft in drafts { discard(draft.temporaryPath) } }
    try verify(drafts)
    var healed = Healed(
      paths: [], keptPaths: [], sequences: nil, sources: [], bytes: 0, hasUnknownEnd: false,
      damage: [])
    for case .hole(let hole) in group.items {
      let part = parts[hole.first]!
      healed.damage.append(hole.damage)
      healed.bytes += part.bytes
      if !healed.sources.contains(part.source) { healed.sources.append(part.source) }
      healed.hasUnknownEnd = healed.hasUnknownEnd || hole.end == nil
      guard let last = part.last else { continue }
      healed.sequences = (healed.sequences?.lowerBound ?? hole.first)...last
    }
    if healed.hasUnknownEnd, !options.isCopy {
      let notes = LogNote(directory: options.directory, fileSystem: fileSystem)
      try notes.write(.epochDue, "nothing says where the log ended before it was repaired")
    }
    try place(drafts, &healed)
    return healed
  }

  private func discard(_ path: String) {
    // It means nothing, and a start removes it.
    do { try fileSystem.remove(path) } catch {}
  }

  // MARK: - Fetching

  /// The frames of a hole, in a file of their own; nil when nobody has them, and the reasons.
  private func fetch(
    _ hole: LogHole, _ reasons: inout [String]
  ) throws(WALError) -> Part? {
    if hole.end == nil, hole.after == nil || !(options.takesUnknownEnd || options.isCopy) {
      reasons.append("nothing says how far the log went, so what a member has may not be all of it")
      return nil
    }
    let path = options.directory + "/hole-\(hole.first).tmp"
    for source in sources {
      var filling = HoleFilling(hole, origin, file: try fileSystem.fresh(path))
      let request = FrameRequest(origin: origin, from: hole.first, after: hole.after)
      let delivery = try source.read(request, check: check) { (frame) throws(WALError) in
        try filling.take(frame)
      }
      if let problem = filling.problem(delivery) {
        reasons.append("\(source.name): \(problem)")
        continue
      }
      try filling.finish()
      return Part(
        path: path, bytes: filling.bytes, source: source.name, last: filling.position?.sequence)
    }
    discard(path)
    return nil
  }

  // MARK: - Writing

  private func assemble(
    _ group: Group, _ parts: [UInt64: Part]
  ) throws(WALError) -> [SegmentAssembly.Draft] {
    let last = found.files.last
    let headers = found.files
    let plan = SegmentAssembly.Plan(
      directory: options.directory, origin: origin,
      names: options.names.union(found.files.map { $0.segment.firstSequence! }),
      bytesMax: options.names.isEmpty
        ? max(found.files.map(\.bytes).max() ?? 0, options.segmentBytesMax) : .max,
      isShipped: { first in
        // Its own header's word; else that of the one before it.
        headers.last { $0.segment.firstSequence! <= first && $0.header != nil }?.header?.isShipped
          ?? false
      },
      fileBytes: { first in
        last?.segment.firstSequence == first && group.reachesEnd ? last!.bytes : 0
      })
    var assembly = SegmentAssembly(plan, fileSystem: fileSystem)
    var torn: Range<UInt64>?
    for item in group.items {
      switch item {
      case .hole(let hole):
        let part = parts[hole.first]!
        try assembly.append(0..<part.bytes, of: try fileSystem.open(part.path, .readOnly), check)
      case .frames(let stretch):
        let file = try readable.open(stretch.path, .readOnly)
        try assembly.append(stretch.offsets, of: file, check)
        guard group.reachesEnd, found.torn?.path == stretch.path else { continue }
        torn = stretch.offsets.upperBound..<(try file.size())
      }
    }
    if let torn, case .frames(let stretch)? = group.items.last {
      try assembly.append(rest: torn, of: try readable.open(stretch.path, .readOnly))
    }
    try assembly.finish()
    return assembly.drafts
  }

  /// Reads the new segments as a start will.
  private func verify(_ drafts: [SegmentAssembly.Draft]) throws(WALError) {
    guard let last = drafts.last else { return }
    var reader = LogReader(
      files: drafts.map { SegmentFile(path: $0.temporaryPath, firstSequence: nil) },
      origin: origin, fileSystem: fileSystem)
    reader.limit = last.position.sequence
    while true {
      try check()
      switch try reader.next() {
      case .frame: continue
      case .damage(let damage): throw .damaged(damage)
      case .end:
        guard reader.end == last.position else {
          throw .invalidFile(
            path: last.temporaryPath, offset: reader.nextOffset,
            reason: "what was written ends before \(last.position.sequence)")
        }
        return
      }
    }
  }

  // MARK: - Placing

  private func place(
    _ drafts: [SegmentAssembly.Draft], _ healed: inout Healed
  ) throws(WALError) {
    let present = Set(try fileSystem.list(options.directory))
    let quarantine = Quarantine(options.quarantineDirectory, fileSystem: fileSystem)
    let names = drafts.map { SegmentName.of($0.firstSequence) }
    for name in names where present.contains(name) {
      healed.keptPaths.append(try keep(options.directory + "/" + name, quarantine))
    }
    for (draft, name) in zip(drafts, names).reversed() {
      let path = options.directory + "/" + name
      try fileSystem.rename(draft.temporaryPath, to: path)
      try fileSystem.syncDirectory(options.directory)
      healed.paths.insert(path, at: 0)
    }
  }

  private func keep(_ path: String, _ quarantine: Quarantine) throws(WALError) -> String {
    do {
      return try quarantine.keepCopy(path)
    } catch {
      // A part of it cannot be read: then the file itself goes there.
      guard case .system(.read, _, _) = error else { throw error }
      return try quarantine.take(path)
    }
  }

  /// Puts away the files that no frame of the log belongs to.
  private func putAwayRest(
    _ placed: Set<String>, _ result: inout Result
  ) throws(WALError) {
    let quarantine = Quarantine(options.quarantineDirectory, fileSystem: fileSystem)
    for file in found.files.reversed()
    where !file.isGood && !placed.contains(file.segment.path) {
      let kept = try quarantine.take(file.segment.path)
      result.healed.append(
        Healed(
          paths: [], keptPaths: [kept], sequences: nil, sources: [], bytes: 0,
          hasUnknownEnd: false, damage: []))
    }
  }
}
