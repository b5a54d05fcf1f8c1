/// Sees every frame that a log's writer has written, on the writer's thread.
///
/// The frame is not known to be durable then: when its sync fails the writer stops, and nothing
/// follows.
package protocol FrameTap: AnyObject, Sendable {
  /// Whether frames are to be shown at all; asked for each of them.
  var wantsFrames: Bool { get }

  /// - Parameters:
  ///   - frame: the whole of it, as it is on the disk; only during the call.
  ///   - next: the place behind it.
  func wrote(_ header: FrameHeader, _ frame: UnsafeRawBufferPointer, next: LogBookmark)
}
