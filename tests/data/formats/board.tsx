import React from "react";

type Props = {
  line: string;
  hours: number[];
};

/** The board at the pier. */
export function Board({ line, hours }: Props) {
  const [open, setOpen] = React.useState(false);
  return (
    <section onClick={() => setOpen(!open)}>
      <h1>{line}</h1>
      {open && hours.map((hour) => <p key={hour}>{hour}:00</p>)}
    </section>
  );
}
