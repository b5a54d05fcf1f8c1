import Logging

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Writes a line for each message to standard error. That it cannot be written changes nothing.
public struct LineLogHandler: LogHandler {
  public enum Format: String, Sendable, CaseIterable {
    case text
    case json
  }

  public var logLevel: Logger.Level
  public var metadata: Logger.Metadata = [:]
  private let format: Format

  public init(format: Format, level: Logger.Level) {
    self.format = format
    logLevel = level
  }

  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  public func log(event: LogEvent) {
    let merged = metadata.merging(event.metadata ?? [:]) { $1 }
    write(level: "\(event.level)", "\(event.message)", merged)
  }

  /// Writes a line whatever the level is.
  public func announce(_ message: String) {
    write(level: "info", message, [:])
  }

  private func write(level: String, _ message: String, _ metadata: Logger.Metadata) {
    let time = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    var line: String
    switch format {
    case .text:
      line = "\(time) \(level) \(message)"
      for (key, value) in metadata.sorted(by: { $0.key < $1.key }) { line += " \(key)=\(value)" }
      // One message, one line.
      line = line.replacing("\n", with: " ")
    case .json:
      var object = metadata.mapValues { "\($0)" }
      object["time"] = time
      object["level"] = level
      object["message"] = message
      guard let json = try? JSONEncoder.status.encode(object) else { return }
      line = String(decoding: json, as: UTF8.self)
    }
    line += "\n"
    line.withUTF8 { bytes in
      // Whole lines: several threads write.
      _ = systemWrite(2, bytes.baseAddress, bytes.count)
    }
  }
}

/// The system's, beside the method of that name.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
  write(descriptor, bytes, count)
}
